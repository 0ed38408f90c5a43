#include "example.h"

static const char HELP[] =
    "Requests and replies between processes: a calculator, and whoever asks it.\n"
    "\n"
    "    calculator serve ipc://calculator         # one terminal: until Ctrl-C\n"
    "    calculator ask ipc://calculator 6 x 7     # another: + - x /\n";

/* The same in every language: their names and fields are checked when the two sides meet. */
typedef struct {
  double left;
  double right;
  uint64_t operation; /* a letter: + - x / */
} question;

typedef struct {
  double value;
} answer;

static psyne_layout question_layout(void) {
  psyne_layout layout = psyne_layout_named("Question", sizeof(question), _Alignof(question));
  layout = psyne_layout_field(layout, "left", number("f64"));
  layout = psyne_layout_field(layout, "right", number("f64"));
  return psyne_layout_field(layout, "operation", number("u64"));
}

static psyne_layout answer_layout(void) {
  psyne_layout layout = psyne_layout_named("Answer", sizeof(answer), _Alignof(answer));
  return psyne_layout_field(layout, "value", number("f64"));
}

/* Whether it can be done. */
static int calculate(const question *asked, double *value) {
  switch (asked->operation) {
    case '+': *value = asked->left + asked->right; return 1;
    case '-': *value = asked->left - asked->right; return 1;
    case 'x': *value = asked->left * asked->right; return 1;
    case '/': *value = asked->left / asked->right; return 1;
    default: return 0;
  }
}

static int serve(const char *address) {
  psyne_server *server;
  psyne_status status =
      psyne_server_open(address, question_layout(), answer_layout(), NULL, &server);
  if (status != PSYNE_OK) return fail(status);
  for (;;) {
    const void *request;
    answer reply;
    status = psyne_server_next(server, -1, &request);
    /* A client died, or the last one finished: others will come. */
    if (status == PSYNE_PEER_DIED || status == PSYNE_CLOSED) continue;
    if (status != PSYNE_OK) return fail(status);
    /* A request without a reply is refused. */
    if (!calculate(request, &reply.value)) continue;
    status = psyne_reply(server, &reply, sizeof reply);
    if (status != PSYNE_OK) return fail(status);
  }
}

static int ask(const char *address, question asked) {
  psyne_client *client;
  psyne_status status =
      psyne_client_open(address, question_layout(), answer_layout(), NULL, &client);
  if (status != PSYNE_OK) return fail(status);
  const void *reply;
  status = psyne_call(client, &asked, sizeof asked, -1, &reply);
  if (status == PSYNE_OK)
    printf("%.3f\n", ((const answer *)reply)->value);
  else if (status == PSYNE_REFUSED)
    puts("the calculator can't do that");
  else
    return fail(status);
  psyne_client_close(&client);
  return 0;
}

int main(int argc, char **argv) {
  if (is(argc, argv, "serve", 1)) return serve(argv[2]);
  if (is(argc, argv, "ask", 4)) {
    question asked = {strtod(argv[3], NULL), strtod(argv[5], NULL), (unsigned char)argv[4][0]};
    return ask(argv[2], asked);
  }
  return help(argc, argv, HELP);
}
