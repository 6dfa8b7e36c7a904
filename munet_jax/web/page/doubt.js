// Which frames are worth a look, from what the network said of each object in them.
const LEAST_CONFIDENCE = 0.75; // mean probability of an object's pixels
const MOST_LOSS = 0.03; // of confidence, below what is usual for the object
const MOST_CHANGE = 1.6; // by which an object's area grows or shrinks from one frame to the next
const LEAST_AREA = 40; // pixels; smaller ones jump
const LEAST_SURE = 0.5; // of the object's usual share of sure matches

const median = (values) => (values.length ? [...values].sort((a, b) => a - b)[values.length >> 1] : 0);

// By frame, why it is doubtful; frames that a person marked are not.
export function doubts(rows, objects, count) {
  const found = new Map();
  for (const { id, name } of objects) {
    const usual = [1, 2].map((place) => median([...rows.values()].map((row) => row.stats[id]?.[place] ?? null).filter((x) => x !== null)));
    let before = null;
    for (let frame = 0; frame < count; frame++) {
      const row = rows.get(frame), now = row?.stats[id];
      if (!now) { before = null; continue; }
      const [area, confidence, sure] = now, why = [];
      if (confidence !== null && confidence < Math.max(LEAST_CONFIDENCE, usual[0] - MOST_LOSS)) why.push(`confidence ${confidence.toFixed(2)}`);
      if (before !== null && Math.max(area, before) >= LEAST_AREA) {
        if (!area) why.push("is gone");
        else if (area > MOST_CHANGE * before || before > MOST_CHANGE * area) why.push(`area ${before} to ${area} pixels`);
      }
      if (sure !== null && sure < LEAST_SURE * usual[1]) why.push(`only ${Math.round(100 * sure)} % sure matches`);
      before = area || (before === null ? null : 0);
      if (why.length && !row.marked) found.set(frame, [...(found.get(frame) ?? []), `${name}: ${why.join(", ")}`]);
    }
  }
  return found;
}

// The next frame at which a row of doubtful frames begins, round the end of the video; null where there is none.
export function nextDoubt(found, frame) {
  const begins = [...found.keys()].filter((number) => !found.has(number - 1)).sort((a, b) => a - b);
  return begins.find((number) => number > frame) ?? begins[0] ?? null;
}
