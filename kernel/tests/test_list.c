/* test_list.c - order, removal from anywhere, removal of what is in no list. */
#include "check.h"
#include "list.h"

typedef struct item {
    int number;
    list_t link;
} item_t;

static int digits(const list_t *head) {
    int number = 0;
    for (list_t *link = list_first(head); link; link = list_next(head, link))
        number = number * 10 + list_entry(link, item_t, link)->number;
    return number;
}

int main(void) {
    list_t head;
    item_t items[5] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}, {5, {0}}};
    list_init(&head);
    CHECK(list_first(&head) == NULL);
    list_remove(&items[0].link); /* zeroed: in no list */
    for (int i = 0; i < 5; i++) list_append(&head, &items[i].link);
    CHECK_INT(digits(&head), 12345);
    list_remove(&items[2].link);
    CHECK_INT(digits(&head), 1245);
    list_remove(&items[2].link);
    list_remove(&items[0].link);
    list_remove(&items[4].link);
    CHECK_INT(digits(&head), 24);
    list_append(&head, &items[0].link);
    CHECK_INT(digits(&head), 241);
    list_remove(&items[1].link);
    list_remove(&items[3].link);
    list_remove(&items[0].link);
    CHECK(list_first(&head) == NULL);
    return check_result();
}
