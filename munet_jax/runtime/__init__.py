"""What every room uses: errors, atomic files, compilation, prefetching, signals."""
