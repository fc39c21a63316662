/* Numbers, or objects of a pool, through a ring: on one CPU, or from one to another, where objects go back to the pool. One consumer (SC) always. */
#include "dpdk.h"

#include <rte_errno.h>
#include <rte_pause.h>

#define BATCH_MAX 256

struct rte_ring *waterwheel_dpdk_ring(const char *name, unsigned slots, int what)
{
	unsigned flags = RING_F_SC_DEQ | (what & MANY ? 0 : RING_F_SP_ENQ);

	return rte_ring_create_elem(name, what & WORD ? 4 : 8, slots, SOCKET_ID_ANY, flags);
}

void waterwheel_dpdk_ring_free(struct rte_ring *ring)
{
	rte_ring_free(ring);
}

INLINE unsigned enqueue(struct rte_ring *ring, void **o, unsigned n, int what)
{
	unsigned size = what & WORD ? 4 : 8;

	if (what & MANY)
		return rte_ring_mp_enqueue_burst_elem(ring, o, size, n, NULL);
	return rte_ring_sp_enqueue_burst_elem(ring, o, size, n, NULL);
}

INLINE unsigned dequeue(struct rte_ring *ring, void **o, unsigned n, int what)
{
	return rte_ring_sc_dequeue_burst_elem(ring, o, what & WORD ? 4 : 8, n, NULL);
}

/* Numbers in, and out again at once. Returns how many iterations were done. */
INLINE uint64_t both(struct rte_ring *ring, unsigned n, uint64_t loops, int what)
{
	void *o[BATCH_MAX] = {0}, **numbers = o;
	uint64_t i;

	for (i = 0; i < loops; i++) {
		OPAQUE(ring);
		OPAQUE(numbers);
		if (unlikely(enqueue(ring, numbers, n, what) != n || dequeue(ring, numbers, n, what) != n))
			return i;
	}
	return loops;
}

uint64_t waterwheel_dpdk_ring_loop(struct rte_ring *ring, unsigned n, uint64_t loops, int what)
{
	switch (what) {
	case PLAIN: return both(ring, n, loops, 0);
	case PLAIN | WORD: return both(ring, n, loops, WORD);
	case PLAIN | MANY: return both(ring, n, loops, MANY);
	case PLAIN | MANY | WORD: return both(ring, n, loops, MANY | WORD);
	default: return 0;
	}
}

INLINE void produce(struct rte_ring **rings, unsigned count, struct rte_mempool *pool, unsigned n, uint64_t total, int what)
{
	void *o[BATCH_MAX] = {0}, **objects = o;
	const unsigned size = what & WORD ? 4 : 8;
	unsigned r = 0, k;

	while (total) {
		OPAQUE(objects);
		if (!(what & PLAIN) && unlikely(take_bulk(pool, objects, n, what))) {
			rte_pause(); /* all are on their way */
			continue;
		}
		for (k = 0; k < n;) {
			unsigned done = enqueue(rings[r], (void **)((char *)objects + k * size), n - k, what);
			if (!done)
				rte_pause();
			k += done;
		}
		r = r + 1 == count ? 0 : r + 1;
		total -= n;
	}
}

INLINE void consume(struct rte_ring *ring, struct rte_mempool *pool, unsigned n, uint64_t total, int what)
{
	void *o[BATCH_MAX], **objects = o;

	while (total) {
		unsigned done = dequeue(ring, objects, n, what);

		OPAQUE(objects);
		if (!done) {
			rte_pause();
			continue;
		}
		if (!(what & PLAIN))
			give_bulk(pool, objects, done, what);
		total -= done;
	}
}

#define EACH(f, ...)                                                                \
	switch (what) {                                                             \
	case 0: f(__VA_ARGS__, 0); break;                                           \
	case MBUF: f(__VA_ARGS__, MBUF); break;                                     \
	case PLAIN: f(__VA_ARGS__, PLAIN); break;                                   \
	case PLAIN | WORD: f(__VA_ARGS__, PLAIN | WORD); break;                     \
	case PLAIN | MANY: f(__VA_ARGS__, PLAIN | MANY); break;                     \
	case PLAIN | MANY | WORD: f(__VA_ARGS__, PLAIN | MANY | WORD); break;       \
	}

/* Gives the rings batches of n in turn, `total` objects in all, which n has to divide. Waits where a ring is full. */
void waterwheel_dpdk_produce(struct rte_ring **rings, unsigned count, struct rte_mempool *pool, unsigned n, uint64_t total, int what)
{
	EACH(produce, rings, count, pool, n, total)
}

/* Takes `total` objects out of the ring, at most n at a time. */
void waterwheel_dpdk_consume(struct rte_ring *ring, struct rte_mempool *pool, unsigned n, uint64_t total, int what)
{
	EACH(consume, ring, pool, n, total)
}
