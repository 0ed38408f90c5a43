#include "example.h"

static const char HELP[] =
    "A latest value between processes: a setting whose newest state everybody sees. The writer\n"
    "never waits; a reader sees the newest temperature, and may miss those before.\n"
    "\n"
    "    thermostat watch ipc://thermostat     # one terminal\n"
    "    thermostat set ipc://thermostat       # another: a temperature a line, then Ctrl-D\n";

/* The same in every language: its name and fields are checked when the two sides meet. */
typedef struct {
  double celsius;
} target;

static psyne_layout target_layout(void) {
  psyne_layout layout = psyne_layout_named("Target", sizeof(target), _Alignof(target));
  return psyne_layout_field(layout, "celsius", number("f64"));
}

static psyne_config latest(void) {
  psyne_config config = psyne_config_default();
  config.pattern = PSYNE_LATEST;
  return config;
}

static int watch(const char *address) {
  psyne_config config = latest();
  psyne_receiver *reader;
  psyne_status status = psyne_receiver_open(address, target_layout(), &config, &reader);
  if (status != PSYNE_OK) return fail(status);
  const void *message;
  size_t bytes;
  while ((status = psyne_recv(reader, -1, &message, &bytes)) != PSYNE_CLOSED) {
    if (status == PSYNE_OK)
      printf("heating to %.1f\n", ((const target *)message)->celsius);
    else if (status == PSYNE_PEER_DIED)
      printf("process %" PRIu64 " died: waiting for another\n", psyne_error_number());
    else
      return fail(status);
    fflush(stdout);
  }
  /* Not only its changes: the newest value can be looked at whenever it is needed. */
  if (psyne_newest(reader, &message, &bytes) == PSYNE_OK)
    printf("stays at %.1f\n", ((const target *)message)->celsius);
  psyne_receiver_close(&reader);
  return 0;
}

static int set(const char *address) {
  psyne_config config = latest();
  psyne_sender *writer;
  psyne_status status = psyne_sender_open(address, target_layout(), &config, &writer);
  target next;
  while (status == PSYNE_OK && scanf("%lf", &next.celsius) == 1)
    status = psyne_send(writer, &next, sizeof next);
  if (status != PSYNE_OK) return fail(status);
  psyne_sender_close(&writer);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "watch", 1)) return watch(argv[2]);
  if (is(argc, argv, "set", 1)) return set(argv[2]);
  return help(argc, argv, HELP);
}
