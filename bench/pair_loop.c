/* pair_loop SIZE COUNT: COUNT times malloc(SIZE) and free. bench/count_instructions runs it with
 * two counts and takes the difference, in which the program's start and end cancel out. Another
 * block of that size stays alive; pair.cc says why. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: pair_loop SIZE COUNT\n");
    return 2;
  }
  const size_t size = strtoul(argv[1], NULL, 10);
  void* neighbour = malloc(size);
  if (neighbour == NULL) return 1;
  for (unsigned long left = strtoul(argv[2], NULL, 10); left > 0; --left) {
    void* block = malloc(size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    if (block == NULL) return 1;
    free(block);
  }
  free(neighbour);
  return 0;
}
