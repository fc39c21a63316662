/* Objects of a pool, taken and given back on one CPU. */
#include "dpdk.h"

/* DPDK's default for packets: a cache of 512 objects for each lcore in front of an MP/MC ring. */
struct rte_mempool *waterwheel_dpdk_pool(const char *name, unsigned objects, unsigned data_room)
{
	return rte_pktmbuf_pool_create(name, objects, RTE_MEMPOOL_CACHE_MAX_SIZE, 0, data_room + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
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
