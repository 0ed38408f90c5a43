#include <unistd.h>

#include "example.h"

static const char HELP[] =
    "A broadcast from one process to several, each at its own pace: one that keeps up, which the\n"
    "sender waits for, and one that naps and is told how much it missed.\n"
    "\n"
    "    prices recv ipc://prices              # one terminal: reads everything\n"
    "    prices nap ipc://prices               # another: reads once you press Enter\n"
    "    prices send ipc://prices 100000 2     # a third: to these 2 receivers\n";

/* The same in every language: its name and fields are checked when the two sides meet. */
typedef struct {
  uint64_t instrument;
  double price;
} price;

static psyne_layout price_layout(void) {
  psyne_layout layout = psyne_layout_named("Price", sizeof(price), _Alignof(price));
  layout = psyne_layout_field(layout, "instrument", number("u64"));
  return psyne_layout_field(layout, "price", number("f64"));
}

static psyne_config broadcast(void) {
  psyne_config config = psyne_config_default();
  config.pattern = PSYNE_BROADCAST;
  /* A ring of 128, the next power of two that leaves an eighth more; who naps finds the last 112. */
  config.slots = 100;
  return config;
}

static int receive(const char *address, int naps) {
  psyne_config config = broadcast();
  config.lag = naps ? PSYNE_LAG_SKIP : PSYNE_LAG_BLOCK;
  psyne_receiver *prices;
  psyne_status status = psyne_receiver_open(address, price_layout(), &config, &prices);
  if (status != PSYNE_OK) return fail(status);
  if (naps) {
    puts("napping until you press Enter");
    fflush(stdout);
    getchar();
  }
  uint64_t received = 0, missed = 0;
  double sum = 0;
  const void *message;
  size_t bytes;
  while ((status = psyne_recv(prices, -1, &message, &bytes)) != PSYNE_CLOSED) {
    if (status == PSYNE_LAGGED) {
      missed += psyne_error_number();
      continue;
    }
    if (status != PSYNE_OK) return fail(status);
    sum += ((const price *)message)->price;
    received++;
  }
  psyne_receiver_close(&prices);
  printf("received %" PRIu64 " prices, missed %" PRIu64 ", sum %.1f\n", received, missed, sum);
  return 0;
}

static int send_prices(const char *address, uint64_t count, size_t readers) {
  psyne_config config = broadcast();
  psyne_sender *prices;
  psyne_status status = psyne_sender_open(address, price_layout(), &config, &prices);
  /* Who comes later hears only what is sent from then on. */
  size_t there = 0;
  while (status == PSYNE_OK && (status = psyne_receivers(prices, &there)) == PSYNE_OK &&
         there < readers)
    usleep(1000);
  for (uint64_t at = 0; status == PSYNE_OK && at < count; at++) {
    price next = {at, (double)at / 2};
    status = psyne_send(prices, &next, sizeof next);
  }
  if (status != PSYNE_OK) return fail(status);
  psyne_sender_close(&prices);
  printf("sent %" PRIu64 " prices\n", count);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "recv", 1)) return receive(argv[2], 0);
  if (is(argc, argv, "nap", 1)) return receive(argv[2], 1);
  if (is(argc, argv, "send", 3))
    return send_prices(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
  return help(argc, argv, HELP);
}
