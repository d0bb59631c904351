/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the program needs of the kernel's interface: types, numbers and helpers of linux/bpf.h (UAPI, so they never change), and the
 * names by which a loader finds maps and programs (libbpf's conventions). They are written out here so that the object depends on the
 * compiler alone, and not on which kernel's headers a machine has installed.
 */
#ifndef HALFOPEN_KERNEL_H
#define HALFOPEN_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;
typedef _Bool bool;

enum { false, true };

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() asm volatile("" ::: "memory")
/* Makes the compiler forget what it knows of a value, so that it does not leave out a bound that the verifier needs to see. */
#define hide(x) asm volatile("" : "+r"(x))
/* One load or store, neither repeated nor left out by the compiler. */
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))

/* Map definitions in the section .maps are read from their BTF. */
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bswap16(x) __builtin_bswap16(x)
#define bswap32(x) __builtin_bswap32(x)
#else
#define bswap16(x) (x)
#define bswap32(x) (x)
#endif

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_F_NO_PREALLOC = 1 << 0,
	BPF_F_MMAPABLE = 1 << 10,
};

enum {
	BPF_F_RECOMPUTE_CSUM = 1 << 0,
	BPF_CSUM_LEVEL_QUERY = 0,
};

/* sk_buff.ip_summed (linux/skbuff.h) */
enum {
	CHECKSUM_NONE,
	CHECKSUM_UNNECESSARY,
	CHECKSUM_COMPLETE,
	CHECKSUM_PARTIAL,
};

enum {
	TC_ACT_UNSPEC = -1, /* TCX_NEXT: go on with the next program */
};

enum {
	PACKET_HOST = 0,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	AF_INET = 2,
	AF_INET6 = 10,
	IPPROTO_TCP = 6,
};

/* The context of a tc program: the first part of struct __sk_buff, up to the last field that is used here. */
struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	u64 sk;
	u32 gso_size;
};

struct bpf_spin_lock {
	u32 val;
};

/* What bpf_fib_lookup is asked and answers. */
struct bpf_fib_lookup {
	u8 family;
	u8 l4_protocol;
	u16 sport;
	u16 dport;
	u16 tot_len; /* asked: the length to compare with the MTU; answered: the MTU */
	u32 ifindex;
	u32 flowinfo; /* IPv4: the TOS in the first byte */
	u32 src[4];   /* IPv4: the first word */
	u32 dst[4];
	u32 vlan;
	u8 smac[6];
	u8 dmac[6];
};

enum {
	BPF_FIB_LKUP_RET_SUCCESS = 0,
	BPF_FIB_LKUP_RET_FWD_DISABLED = 5,
	BPF_FIB_LKUP_RET_NO_NEIGH = 7,
	BPF_FIB_LKUP_RET_FRAG_NEEDED = 8,
};

/* Helpers by their numbers in enum bpf_func_id. Only bpf_fib_lookup asks for a GPL-compatible program: gpl_only in
 * net/core/filter.c and kernel/bpf/helpers.c. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_skb_store_bytes)(struct __sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*const bpf_l4_csum_replace)(struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags) = (void *)11;
static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;
static s64 (*const bpf_csum_diff)(const void *from, u32 from_size, const void *to, u32 to_size, u32 seed) = (void *)28;
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, u32 len) = (void *)39;
static long (*const bpf_fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags) = (void *)69;
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static long (*const bpf_csum_level)(struct __sk_buff *skb, u64 level) = (void *)135;
static u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;

/* The kernel's own struct sk_buff (Linux 6.2). The kernel turns the call into a move; where it has no such function, the call stands where
 * nothing leads to. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __attribute__((weak)) SEC(".ksyms");

#endif
