/* Tells GCC 12's unwinder where a static musl program keeps its unwind tables: glibc has this function, musl has not. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
struct dlfo { unsigned long long flags; void *start, *end; void *map; void *eh; unsigned long long r[7]; };
/* musl's layout of struct dl_phdr_info is the same as glibc's */
typedef struct { uint32_t type, flags; uint64_t off, vaddr, paddr, filesz, memsz, align; } ph64;
typedef struct { uint32_t type, off, vaddr, paddr, filesz, memsz, flags, align; } ph32;
#if __SIZEOF_POINTER__ == 8
typedef ph64 ph;
#else
typedef ph32 ph;
#endif
struct info { uintptr_t addr; const char *name; const ph *p; uint16_t n; };
extern int dl_iterate_phdr(int (*)(struct info *, size_t, void *), void *);
struct q { uintptr_t pc; struct dlfo *r; };
static int cb(struct info *i, size_t sz, void *d) {
    struct q *q = d; int hit = 0; const ph *eh = 0; (void)sz;
    for (int k = 0; k < i->n; k++) {
        const ph *p = &i->p[k];
        uintptr_t s = i->addr + p->vaddr;
        if (p->type == 1 && q->pc >= s && q->pc < s + p->memsz) {
            hit = 1; q->r->start = (void *)s; q->r->end = (void *)(s + p->memsz);
        } else if (p->type == 0x6474e550) eh = p;
    }
    if (!hit || !eh) return 0;
    q->r->flags = 0; q->r->map = 0; q->r->eh = (void *)(i->addr + eh->vaddr);
    return 1;
}
int _dl_find_object(void *pc, struct dlfo *r) {
    struct q q = { (uintptr_t)pc, r };
    return dl_iterate_phdr(cb, &q) ? 0 : -1;
}
