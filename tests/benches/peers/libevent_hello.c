/* A hello-world HTTP server of libevent on a Unix socket, answering any request with the bytes of a file. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static char body[1 << 20];
static size_t length;

static void answer(struct evhttp_request *request, void *unused)
{
	struct evbuffer *out = evbuffer_new();

	(void)unused;
	evbuffer_add_reference(out, body, length, NULL, NULL);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
	evhttp_send_reply(request, 200, "OK", out);
	evbuffer_free(out);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct event_base *base = event_base_new();
	struct evhttp *http = evhttp_new(base);
	struct evconnlistener *listener;
	FILE *file;

	if (argc != 3 || !(file = fopen(argv[2], "rb")))
		return 2;
	length = fread(body, 1, sizeof body, file);
	strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
	listener = evconnlistener_new_bind(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE, 128, (struct sockaddr *)&address,
					   sizeof address);
	if (!listener)
		return 1;
	evhttp_bind_listener(http, listener);
	evhttp_set_gencb(http, answer, NULL);
	puts("ready");
	fflush(stdout);
	return event_base_dispatch(base);
}
