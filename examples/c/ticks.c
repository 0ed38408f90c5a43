#include <unistd.h>

#include "example.h"

static const char HELP[] =
    "A queue of structs between two processes, by the simple door: send and receive.\n"
    "\n"
    "    ticks recv ipc://ticks             # one terminal\n"
    "    ticks send ipc://ticks 1000000     # another\n";

/* The same in every language: its name and fields are checked when the two sides meet. */
typedef struct {
  uint64_t instrument;
  double price;
} tick;

static psyne_layout tick_layout(void) {
  psyne_layout layout = psyne_layout_named("Tick", sizeof(tick), _Alignof(tick));
  layout = psyne_layout_field(layout, "instrument", number("u64"));
  return psyne_layout_field(layout, "price", number("f64"));
}

static int receive(const char *address) {
  psyne_receiver *ticks;
  psyne_status status = psyne_receiver_open(address, tick_layout(), NULL, &ticks);
  if (status != PSYNE_OK) return fail(status);
  uint64_t count = 0;
  double sum = 0;
  const void *message;
  size_t bytes;
  while ((status = psyne_recv(ticks, -1, &message, &bytes)) == PSYNE_OK) {
    const tick *next = message;
    if (next->instrument != count) {
      fprintf(stderr, "tick %" PRIu64 " came in the place of %" PRIu64 "\n", next->instrument, count);
      return 1;
    }
    sum += next->price;
    count++;
  }
  if (status != PSYNE_CLOSED) return fail(status);
  psyne_receiver_close(&ticks);
  printf("received %" PRIu64 " ticks, sum %.1f\n", count, sum);
  return 0;
}

static int send_ticks(const char *address, uint64_t count) {
  psyne_sender *ticks;
  psyne_status status = psyne_sender_open(address, tick_layout(), NULL, &ticks);
  for (uint64_t at = 0; status == PSYNE_OK && at < count; at++) {
    tick next = {at, (double)at / 2};
    status = psyne_send(ticks, &next, sizeof next);
  }
  /* Messages lie in this process's ring: wait until all of them were read. */
  uint64_t unread = 1;
  while (status == PSYNE_OK && (status = psyne_unread(ticks, &unread)) == PSYNE_OK && unread > 0)
    usleep(1000);
  if (status != PSYNE_OK) return fail(status);
  psyne_sender_close(&ticks);
  printf("sent %" PRIu64 " ticks\n", count);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "recv", 1)) return receive(argv[2]);
  if (is(argc, argv, "send", 2)) return send_ticks(argv[2], strtoull(argv[3], NULL, 10));
  return help(argc, argv, HELP);
}
