// The yardstick: what a queue costs before anything is decided. One thread a queue receives many messages per call
// (recvmmsg), headers only and super-packets whole (GSO), looks at nothing but the packet ids, and accepts all that a
// call brought with one batch verdict.
//
//	cc -O2 -pthread -o yardstick yardstick.c
//	yardstick FIRST LAST COPYRANGE READYFILE
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, OVERHEAD = 512, MAXLEN = 16384 };

static int copy_range;

struct queue {
	int fd, number;
	pthread_t thread;
};

struct head {
	struct nlmsghdr n;
	struct nfgenmsg g;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "yardstick: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t begin(char *b, int type, int flags, int queue)
{
	struct head h = {
		.n = {.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type, .nlmsg_flags = NLM_F_REQUEST | flags},
		.g = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue)},
	};
	memcpy(b, &h, sizeof h);
	return sizeof h;
}

static size_t attr(char *b, size_t at, int type, const void *v, size_t n)
{
	struct nlattr a = {.nla_len = NLA_HDRLEN + n, .nla_type = type};
	memcpy(b + at, &a, sizeof a);
	memcpy(b + at + NLA_HDRLEN, v, n);
	return at + NLA_ALIGN(NLA_HDRLEN + n);
}

static void open_queue(struct queue *q)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND};
	struct nfqnl_msg_config_params params = {.copy_range = htonl(copy_range), .copy_mode = NFQNL_COPY_PACKET};
	uint32_t maxlen = htonl(MAXLEN), flags = htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
	int size = MAXLEN * (copy_range + 1024), one = 1;
	_Alignas(8) char b[2048] = {0};

	q->fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	if (q->fd < 0 || bind(q->fd, (struct sockaddr *)&kernel, sizeof kernel) || connect(q->fd, (struct sockaddr *)&kernel, sizeof kernel))
		die("socket");
	if (setsockopt(q->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		die("receive buffer");
	setsockopt(q->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);

	size_t n = begin(b, NFQNL_MSG_CONFIG, NLM_F_ACK, q->number);
	n = attr(b, n, NFQA_CFG_CMD, &cmd, sizeof cmd);
	n = attr(b, n, NFQA_CFG_PARAMS, &params, 5);
	n = attr(b, n, NFQA_CFG_QUEUE_MAXLEN, &maxlen, 4);
	n = attr(b, n, NFQA_CFG_MASK, &flags, 4);
	n = attr(b, n, NFQA_CFG_FLAGS, &flags, 4);
	((struct nlmsghdr *)b)->nlmsg_len = n;
	if (send(q->fd, b, n, 0) < 0)
		die("configuration");
	if (recv(q->fd, b, sizeof b, MSG_PEEK) < 0) // the kernel answers before the first packet
		die("answer");
	if (((struct nlmsghdr *)b)->nlmsg_type == NLMSG_ERROR) {
		errno = -((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)b))->error;
		if (errno)
			die("bind");
	}
}

// id finds a message's packet id; 0 where it has none (the kernel counts from 1).
static uint32_t id(char *b, size_t len)
{
	struct nlmsghdr *h = (struct nlmsghdr *)b;
	if (len < sizeof(struct head) || h->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return 0;
	for (size_t at = sizeof(struct head); at + NLA_HDRLEN <= len;) {
		struct nlattr *a = (struct nlattr *)(b + at);
		if (a->nla_len < NLA_HDRLEN)
			return 0;
		if ((a->nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR)
			return ntohl(((struct nfqnl_msg_packet_hdr *)(b + at + NLA_HDRLEN))->packet_id);
		at += NLA_ALIGN(a->nla_len);
	}
	return 0;
}

static void *serve(void *arg)
{
	struct queue *q = arg;
	size_t step = copy_range + OVERHEAD;
	char *buffers = malloc(BATCH * step);
	_Alignas(8) char out[64] = {0};
	struct mmsghdr m[BATCH] = {0};
	struct iovec iov[BATCH];

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){buffers + i * step, step};
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		uint32_t last = 0;
		int n = recvmmsg(q->fd, m, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0)
			die("recvmmsg");
		for (int i = 0; i < n; i++) {
			uint32_t got = id(buffers + i * step, m[i].msg_len);
			if (got)
				last = got;
		}
		if (!last)
			continue;
		struct nfqnl_msg_verdict_hdr v = {.verdict = htonl(NF_ACCEPT), .id = htonl(last)};
		size_t len = begin(out, NFQNL_MSG_VERDICT_BATCH, 0, q->number);
		len = attr(out, len, NFQA_VERDICT_HDR, &v, sizeof v);
		((struct nlmsghdr *)out)->nlmsg_len = len;
		if (send(q->fd, out, len, 0) < 0)
			die("verdict");
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: yardstick FIRST LAST COPYRANGE READYFILE\n");
		return 2;
	}
	int first = atoi(argv[1]), n = atoi(argv[2]) - first + 1;
	copy_range = atoi(argv[3]);
	struct queue q[16];
	if (n < 1 || n > 16 || copy_range < 40) {
		fprintf(stderr, "yardstick: want 1 to 16 queues and a copy range of 40 or more\n");
		return 2;
	}
	for (int i = 0; i < n; i++) {
		q[i].number = first + i;
		open_queue(&q[i]);
	}
	for (int i = 0; i < n; i++)
		if (pthread_create(&q[i].thread, NULL, serve, &q[i]))
			die("thread");
	int fd = open(argv[4], O_CREAT | O_WRONLY, 0644);
	if (fd < 0)
		die(argv[4]);
	close(fd);
	pthread_join(q[0].thread, NULL);
	return 0;
}
