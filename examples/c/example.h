/* What the examples have in common: their help, and what they say when something fails. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "psyne.h"

/* Says what went wrong, and is what main answers then. */
static inline int fail(psyne_status status) {
  fprintf(stderr, "%s: %s\n", psyne_status_code(status), psyne_error_text());
  return 1;
}

/* Says how the program is run: 0 if that was asked for. */
static inline int help(int argc, char **argv, const char *text) {
  int asked = argc == 2 && strcmp(argv[1], "--help") == 0;
  fputs(text, asked ? stdout : stderr);
  return asked ? 0 : 1;
}

/* Whether the words after the program's name are this verb and so many more. */
static inline int is(int argc, char **argv, const char *verb, int more) {
  return argc == 2 + more && strcmp(argv[1], verb) == 0;
}

/* The layout of a number by Rust's name for it. */
static inline psyne_layout number(const char *name) { return psyne_layout_named(name, 0, 0); }
