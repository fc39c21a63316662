/* What the three C files share. They exist because most of DPDK is inline functions: called one by one from Rust they would cost more than they do. */
#ifndef WATERWHEEL_DPDK_H
#define WATERWHEEL_DPDK_H

#include <rte_config.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdint.h>

/* From here on the compiler has to take the value, and all memory, for changed. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")

#define INLINE static inline __attribute__((always_inline))

/* What is done with an object; as in ffi.rs. The functions that take this as a constant become one loop for each. */
enum {
	MBUF = 1,  /* rte_pktmbuf_alloc and _free; else rte_mempool_get and _put */
	BULK = 2,  /* all with one call */
	TOUCH = 4, /* write to the first line of the data */
	PLAIN = 8, /* rings: numbers, without a pool */
	MANY = 16, /* rings: as if there were many producers (MP) */
	WORD = 32, /* rings: numbers of 4 bytes, not 8 */
};

INLINE int take_bulk(struct rte_mempool *pool, void **o, unsigned n, int what)
{
	if (what & MBUF)
		return rte_pktmbuf_alloc_bulk(pool, (struct rte_mbuf **)o, n);
	return rte_mempool_get_bulk(pool, o, n);
}

INLINE void give_bulk(struct rte_mempool *pool, void **o, unsigned n, int what)
{
	if (what & MBUF)
		rte_pktmbuf_free_bulk((struct rte_mbuf **)o, n);
	else
		rte_mempool_put_bulk(pool, o, n);
}

INLINE void *take(struct rte_mempool *pool, int what)
{
	void *o = NULL;

	if (what & MBUF)
		return rte_pktmbuf_alloc(pool);
	return rte_mempool_get(pool, &o) ? NULL : o;
}

INLINE void give(struct rte_mempool *pool, void *o, int what)
{
	if (what & MBUF)
		rte_pktmbuf_free(o);
	else
		rte_mempool_put(pool, o);
}

/* Where a packet would begin. The objects of both kinds of loops are those of one mbuf pool. */
INLINE void touch(void *o, uint64_t value, int what)
{
	if (what & MBUF)
		*rte_pktmbuf_mtod((struct rte_mbuf *)o, volatile uint64_t *) = value;
	else
		*(volatile uint64_t *)((char *)o + sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM) = value;
}

#endif
