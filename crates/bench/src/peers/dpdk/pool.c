/* Objects of a pool, taken and given back on one CPU. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dpdk.h"

#include <rte_mbuf_pool_ops.h>
#include <sys/mman.h>

#define HUGE (2ul << 20)

static void unmap(struct rte_mempool_memhdr *chunk, void *unused)
{
	(void)unused;
	munmap(chunk->addr, chunk->len);
}

/* DPDK's default for packets: a cache of 512 objects for each lcore in front of an MP/MC ring. What rte_pktmbuf_pool_create does, but that the objects lie in
 * transparent huge pages: DPDK is made for huge pages, and not every machine has some reserved. */
struct rte_mempool *waterwheel_dpdk_pool(const char *name, unsigned objects, unsigned data_room)
{
	struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = data_room + RTE_PKTMBUF_HEADROOM};
	const unsigned size = sizeof(struct rte_mbuf) + private.mbuf_data_room_size;
	struct rte_mempool *pool;
	size_t length;
	char *memory;
	int populated;

	/* No device will see them, so that they may lie close: else no object would cross a page of 4 KiB. */
	pool = rte_mempool_create_empty(name, objects, size, RTE_MEMPOOL_CACHE_MAX_SIZE, sizeof(private), SOCKET_ID_ANY,
					RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (!pool)
		return NULL;
	length = RTE_ALIGN_CEIL((size_t)objects * rte_mempool_calc_obj_size(size, 0, NULL), HUGE) + HUGE;
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		rte_mempool_free(pool);
		return NULL;
	}
	madvise(memory, length, MADV_HUGEPAGE);
	rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	rte_pktmbuf_pool_init(pool, &private);
	populated = rte_mempool_populate_iova(pool, memory, RTE_BAD_IOVA, length, unmap, NULL);
	if (populated < (int)objects) {
		rte_mempool_free(pool); /* which unmaps what it has taken */
		if (populated <= 0)
			munmap(memory, length);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

void waterwheel_dpdk_pool_free(struct rte_mempool *pool)
{
	rte_mempool_free(pool);
}

unsigned waterwheel_dpdk_available(struct rte_mempool *pool)
{
	return rte_mempool_avail_count(pool);
}

/* Returns how many iterations were done: fewer if the pool had no more. */
INLINE uint64_t loop(struct rte_mempool *pool, void **o, unsigned n, uint64_t loops, int what)
{
	uint64_t i;
	unsigned k;

	for (i = 0; i < loops; i++) {
		OPAQUE(pool);
		if (what & BULK) {
			if (unlikely(take_bulk(pool, o, n, what)))
				return i;
			for (k = 0; (what & TOUCH) && k < n; k++)
				touch(o[k], i, what);
			OPAQUE(o);
			give_bulk(pool, o, n, what);
			continue;
		}
		for (k = 0; k < n; k++) {
			o[k] = take(pool, what);
			if (unlikely(!o[k])) {
				while (k--)
					give(pool, o[k], what);
				return i;
			}
			if (what & TOUCH)
				touch(o[k], i, what);
		}
		OPAQUE(o);
		for (k = 0; k < n; k++)
			give(pool, o[k], what);
	}
	return loops;
}

uint64_t waterwheel_dpdk_loop(struct rte_mempool *pool, void **o, unsigned n, uint64_t loops, int what)
{
	switch (what) {
	case 0: return loop(pool, o, n, loops, 0);
	case MBUF: return loop(pool, o, n, loops, MBUF);
	case BULK: return loop(pool, o, n, loops, BULK);
	case BULK | MBUF: return loop(pool, o, n, loops, BULK | MBUF);
	case TOUCH: return loop(pool, o, n, loops, TOUCH);
	case TOUCH | MBUF: return loop(pool, o, n, loops, TOUCH | MBUF);
	case TOUCH | BULK: return loop(pool, o, n, loops, TOUCH | BULK);
	case TOUCH | BULK | MBUF: return loop(pool, o, n, loops, TOUCH | BULK | MBUF);
	default: return 0;
	}
}
