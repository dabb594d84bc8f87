/*
 * list.h - an intrusive doubly linked list.  A zeroed link is in no list.
 */
#ifndef STDIO_BUS_LIST_H
#define STDIO_BUS_LIST_H

#include <stddef.h>

typedef struct list {
    struct list *next, *prev;
} list_t;

#define list_entry(link, type, member) ((type *)(void *)((char *)(link) - offsetof(type, member)))

static inline void list_init(list_t *head) {
    head->next = head->prev = head;
}

static inline list_t *list_first(const list_t *head) {
    return head->next == head ? NULL : head->next;
}

static inline list_t *list_next(const list_t *head, const list_t *link) {
    return link->next == head ? NULL : link->next;
}

static inline void list_append(list_t *head, list_t *link) {
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_remove(list_t *link) {
    if (!link->next) return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

#endif
