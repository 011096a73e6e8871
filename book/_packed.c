/* What the running recorder does with a book's push, compiled: read it from the frame's text, apply it.
 *
 * packed.py says what this is for and what does the same without it; _packed.pyi has the signatures. Two rules keep
 * the pair equal. `read_push` and `read_image` read one way of writing a push, the venue's own, and decline all else
 * (None): they never say what is wrong with a text, for that is the decoder's business. And an event is whole before a
 * book sees it.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <structmember.h>

#define TEXT_MAX (16 << 10)
#define LEVELS_MAX 2048
#define MILLIS_MAX (INT64_MAX / 1000000)
#define SLOTS_MIN 64

typedef struct {
    double price;
    double size;
} Level;

/* ---- an event, a delta or a whole book: its bids, then its asks, in one piece of memory */

typedef struct {
    PyObject_VAR_HEAD
    PyObject *symbol;
    PyObject *feed;
    long long ts_push; /* the frame's own time */
    long long ts_event;
    long long seq;
    long long prev_seq; /* of a delta */
    Py_ssize_t bids;
    Level levels[1];
} Event;

static PyTypeObject DeltaType, ImageType;

static void
event_dealloc(Event *self)
{
    Py_XDECREF(self->symbol);
    Py_XDECREF(self->feed);
    PyObject_Free(self);
}

static PyObject *
levels_list(const Level *levels, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *price = PyFloat_FromDouble(levels[i].price), *size = PyFloat_FromDouble(levels[i].size);
        PyObject *pair = price == NULL || size == NULL ? NULL : PyTuple_New(2);
        if (pair == NULL) {
            Py_XDECREF(price);
            Py_XDECREF(size);
            Py_CLEAR(list);
        }
        else {
            PyTuple_SET_ITEM(pair, 0, price);
            PyTuple_SET_ITEM(pair, 1, size);
            PyList_SET_ITEM(list, i, pair);
        }
    }
    return list;
}

static PyObject *
event_bids(Event *self, void *Py_UNUSED(closure))
{
    return levels_list(self->levels, self->bids);
}

static PyObject *
event_asks(Event *self, void *Py_UNUSED(closure))
{
    return levels_list(self->levels + self->bids, Py_SIZE(self) - self->bids);
}

static PyObject *
image_source(Event *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("push");
}

/* The best price of a side that is in order, as the first level that is one; 0 where there is none. */
static double
first_price(const Level *levels, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (levels[i].size != 0.0)
            return levels[i].price;
    return 0.0;
}

static PyObject *
image_crossed(Event *self, void *Py_UNUSED(closure))
{
    double bid = first_price(self->levels, self->bids);
    double ask = first_price(self->levels + self->bids, Py_SIZE(self) - self->bids);
    return PyBool_FromLong(bid != 0.0 && ask != 0.0 && bid >= ask);
}

/* Equal to whatever has equal fields: the decoder's own events are of other types. */
static PyObject *
event_compare(PyObject *self, PyObject *other, int op)
{
    static const char *const names[] = {"symbol", "feed", "ts_event", "seq", "bids", "asks", NULL};
    const char *last = Py_TYPE(self) == &DeltaType ? "prev_seq" : "source";
    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    int equal = 1;
    for (size_t i = 0; equal && i < Py_ARRAY_LENGTH(names); i++) {
        const char *name = names[i] == NULL ? last : names[i];
        PyObject *theirs = PyObject_GetAttrString(other, name);
        if (theirs == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError))
                return NULL;
            PyErr_Clear();
            Py_RETURN_NOTIMPLEMENTED;
        }
        PyObject *ours = PyObject_GetAttrString(self, name);
        equal = ours == NULL ? -1 : PyObject_RichCompareBool(ours, theirs, Py_EQ);
        Py_XDECREF(ours);
        Py_DECREF(theirs);
        if (equal < 0)
            return NULL;
    }
    return PyBool_FromLong(equal == (op == Py_EQ));
}

static PyMemberDef delta_members[] = {
    {"symbol", T_OBJECT_EX, offsetof(Event, symbol), READONLY, NULL},
    {"feed", T_OBJECT_EX, offsetof(Event, feed), READONLY, NULL},
    {"ts_event", T_LONGLONG, offsetof(Event, ts_event), READONLY, NULL},
    {"seq", T_LONGLONG, offsetof(Event, seq), READONLY, NULL},
    {"prev_seq", T_LONGLONG, offsetof(Event, prev_seq), READONLY, NULL},
    {NULL},
};

static PyGetSetDef delta_getset[] = {
    {"bids", (getter)event_bids, NULL, NULL, NULL},
    {"asks", (getter)event_asks, NULL, NULL, NULL},
    {NULL},
};

static PyMemberDef image_members[] = {
    {"symbol", T_OBJECT_EX, offsetof(Event, symbol), READONLY, NULL},
    {"feed", T_OBJECT_EX, offsetof(Event, feed), READONLY, NULL},
    {"ts_push", T_LONGLONG, offsetof(Event, ts_push), READONLY, NULL},
    {"ts_event", T_LONGLONG, offsetof(Event, ts_event), READONLY, NULL},
    {"seq", T_LONGLONG, offsetof(Event, seq), READONLY, NULL},
    {NULL},
};

static PyGetSetDef image_getset[] = {
    {"bids", (getter)event_bids, NULL, NULL, NULL},
    {"asks", (getter)event_asks, NULL, NULL, NULL},
    {"source", (getter)image_source, NULL, NULL, NULL},
    {"crossed", (getter)image_crossed, NULL, NULL, NULL},
    {NULL},
};

static PyTypeObject DeltaType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "bookreel.book._packed.PackedDelta",
    .tp_doc = "A delta with its levels packed.",
    .tp_basicsize = offsetof(Event, levels),
    .tp_itemsize = sizeof(Level),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)event_dealloc,
    .tp_richcompare = event_compare,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_members = delta_members,
    .tp_getset = delta_getset,
};

static PyTypeObject ImageType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "bookreel.book._packed.PackedSnapshot",
    .tp_doc = "A whole book with its levels packed.",
    .tp_basicsize = offsetof(Event, levels),
    .tp_itemsize = sizeof(Level),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)event_dealloc,
    .tp_richcompare = event_compare,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_members = image_members,
    .tp_getset = image_getset,
};

/* ---- a book: a table of levels by price for each side, a free slot has price 0 */

typedef struct {
    Level *slots;
    size_t mask;
    int shift;
    Py_ssize_t used;
    double sign; /* 1 where the highest price is the best, else -1 */
    double best; /* price * sign, -inf where there is none */
} Side;

typedef struct {
    PyObject_HEAD
    Side bids;
    Side asks;
} Book;

static size_t
slot_of(const Side *side, double price)
{
    uint64_t bits;
    memcpy(&bits, &price, sizeof bits);
    return (size_t)((bits * UINT64_C(0x9E3779B97F4A7C15)) >> side->shift);
}

/* Where the price is, or the free slot where it belongs: half of the slots at least are free. */
static Level *
find(const Side *side, double price)
{
    size_t at = slot_of(side, price);
    while (side->slots[at].price != 0.0 && side->slots[at].price != price)
        at = (at + 1) & side->mask;
    return &side->slots[at];
}

static int
resize(Side *side, size_t slots)
{
    Level *old = side->slots;
    size_t count = old == NULL ? 0 : side->mask + 1;
    Level *fresh = PyMem_Calloc(slots, sizeof(Level));
    if (fresh == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    side->slots = fresh;
    side->mask = slots - 1;
    side->shift = 64;
    for (size_t rest = slots; rest > 1; rest >>= 1)
        side->shift--;
    for (size_t i = 0; i < count; i++)
        if (old[i].price != 0.0)
            *find(side, old[i].price) = old[i];
    PyMem_Free(old);
    return 0;
}

/* Room for so many more levels, so that nothing can fail once a delta is being applied. */
static int
reserve(Side *side, Py_ssize_t more)
{
    size_t slots = side->mask + 1, wanted = 2 * (size_t)(side->used + more);
    if (wanted <= slots)
        return 0;
    while (slots < wanted)
        slots *= 2;
    return resize(side, slots);
}

static void
empty(Side *side)
{
    memset(side->slots, 0, (side->mask + 1) * sizeof(Level));
    side->used = 0;
    side->best = -HUGE_VAL;
}

/* What follows a freed slot moves up, as far as it is not where it belongs already. */
static void
release(Side *side, Level *level)
{
    size_t hole = (size_t)(level - side->slots), at = hole;
    for (;;) {
        at = (at + 1) & side->mask;
        if (side->slots[at].price == 0.0)
            break;
        size_t home = slot_of(side, side->slots[at].price);
        if (((at - home) & side->mask) >= ((at - hole) & side->mask)) {
            side->slots[hole] = side->slots[at];
            hole = at;
        }
    }
    side->slots[hole].price = 0.0;
    side->used--;
}

static void
follow(Side *side)
{
    side->best = -HUGE_VAL;
    for (size_t i = 0; i <= side->mask; i++) {
        double price = side->slots[i].price;
        if (price != 0.0 && price * side->sign > side->best)
            side->best = price * side->sign;
    }
}

static void
apply_levels(Side *side, const Level *levels, Py_ssize_t count)
{
    int stale = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Level *level = find(side, levels[i].price);
        double rank = levels[i].price * side->sign;
        if (levels[i].size != 0.0) {
            side->used += level->price == 0.0;
            *level = levels[i];
            if (rank > side->best)
                side->best = rank;
        }
        else if (level->price != 0.0) {
            release(side, level);
            stale |= rank == side->best;
        }
    }
    if (stale)
        follow(side);
}

static int
crossed(const Book *self)
{
    return self->bids.best >= -self->asks.best;
}

/* The pairs of a list, which must be prices above 0 and sizes from 0 on, as packed levels; NULL with an error set. */
static Level *
levels_of(PyObject *pairs, Py_ssize_t *count)
{
    PyObject *list = PySequence_Fast(pairs, "levels are a sequence of (price, size)");
    if (list == NULL)
        return NULL;
    *count = PySequence_Fast_GET_SIZE(list);
    Level *levels = PyMem_Calloc((size_t)*count + 1, sizeof(Level));
    if (levels == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; levels != NULL && i < *count; i++) {
        Level *level = &levels[i];
        PyObject *pair = PySequence_Tuple(PySequence_Fast_GET_ITEM(list, i));
        int fine = pair != NULL && PyArg_ParseTuple(pair, "dd", &level->price, &level->size);
        Py_XDECREF(pair);
        if (fine && !(level->price > 0.0 && level->price <= DBL_MAX && level->size >= 0.0 && level->size <= DBL_MAX)) {
            PyErr_SetString(PyExc_ValueError, "a price or size that cannot be");
            fine = 0;
        }
        if (!fine || PySequence_Fast_GET_SIZE(list) != *count) {
            if (fine)
                PyErr_SetString(PyExc_RuntimeError, "the levels changed while they were read");
            PyMem_Free(levels);
            levels = NULL;
        }
    }
    Py_DECREF(list);
    return levels;
}

/* A whole side leaves out levels of size 0; in a delta they remove. */
static Py_ssize_t
without_zeros(Level *levels, Py_ssize_t count)
{
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if (levels[i].size != 0.0)
            levels[kept++] = levels[i];
    return kept;
}

static int
take_lists(Book *self, PyObject *bid_pairs, PyObject *ask_pairs, int anew)
{
    Py_ssize_t bid_count = 0, ask_count = 0;
    int failed = -1;
    Level *bids = levels_of(bid_pairs, &bid_count);
    Level *asks = bids == NULL ? NULL : levels_of(ask_pairs, &ask_count);
    if (asks != NULL && reserve(&self->bids, bid_count) == 0 && reserve(&self->asks, ask_count) == 0) {
        if (anew) {
            empty(&self->bids);
            empty(&self->asks);
            bid_count = without_zeros(bids, bid_count);
            ask_count = without_zeros(asks, ask_count);
        }
        apply_levels(&self->bids, bids, bid_count);
        apply_levels(&self->asks, asks, ask_count);
        failed = 0;
    }
    PyMem_Free(bids);
    PyMem_Free(asks);
    return failed;
}

static PyObject *
book_load(Book *self, PyObject *args)
{
    PyObject *bids, *asks;
    if (!PyArg_ParseTuple(args, "OO:load", &bids, &asks) || take_lists(self, bids, asks, 1) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Room for so many levels in all: what is there now goes. */
static int
reserve_anew(Side *side, Py_ssize_t count)
{
    return count > side->used ? reserve(side, count - side->used) : 0;
}

static PyObject *
book_replace(Book *self, PyObject *whole)
{
    if (Py_TYPE(whole) == &ImageType) {
        const Event *image = (const Event *)whole;
        Py_ssize_t asks = Py_SIZE(image) - image->bids;
        if (reserve_anew(&self->bids, image->bids) < 0 || reserve_anew(&self->asks, asks) < 0)
            return NULL;
        empty(&self->bids);
        empty(&self->asks);
        apply_levels(&self->bids, image->levels, image->bids);
        apply_levels(&self->asks, image->levels + image->bids, asks);
        Py_RETURN_NONE;
    }
    PyObject *bids = PyObject_GetAttrString(whole, "bids");
    PyObject *asks = bids == NULL ? NULL : PyObject_GetAttrString(whole, "asks");
    int failed = asks == NULL ? -1 : take_lists(self, bids, asks, 1);
    Py_XDECREF(bids);
    Py_XDECREF(asks);
    if (failed < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
book_apply(Book *self, PyObject *change)
{
    if (Py_TYPE(change) == &DeltaType) {
        const Event *delta = (const Event *)change;
        Py_ssize_t asks = Py_SIZE(delta) - delta->bids;
        if (reserve(&self->bids, delta->bids) < 0 || reserve(&self->asks, asks) < 0)
            return NULL;
        apply_levels(&self->bids, delta->levels, delta->bids);
        apply_levels(&self->asks, delta->levels + delta->bids, asks);
        return PyBool_FromLong(crossed(self));
    }
    PyObject *bids = PyObject_GetAttrString(change, "bids");
    PyObject *asks = bids == NULL ? NULL : PyObject_GetAttrString(change, "asks");
    int failed = asks == NULL ? -1 : take_lists(self, bids, asks, 0);
    Py_XDECREF(bids);
    Py_XDECREF(asks);
    return failed < 0 ? NULL : PyBool_FromLong(crossed(self));
}

static PyObject *
side_dict(const Side *side)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict != NULL && i <= side->mask; i++) {
        if (side->slots[i].price == 0.0)
            continue;
        PyObject *price = PyFloat_FromDouble(side->slots[i].price);
        PyObject *size = PyFloat_FromDouble(side->slots[i].size);
        if (price == NULL || size == NULL || PyDict_SetItem(dict, price, size) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(price);
        Py_XDECREF(size);
    }
    return dict;
}

static PyObject *
book_bids(Book *self, void *Py_UNUSED(closure))
{
    return side_dict(&self->bids);
}

static PyObject *
book_asks(Book *self, void *Py_UNUSED(closure))
{
    return side_dict(&self->asks);
}

static PyObject *
book_best_bid(Book *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(self->bids.best);
}

static PyObject *
book_best_ask(Book *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(-self->asks.best);
}

static PyObject *
book_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Book *self = (Book *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->bids.sign = 1.0;
    self->asks.sign = -1.0;
    self->bids.best = self->asks.best = -HUGE_VAL;
    if (resize(&self->bids, SLOTS_MIN) < 0 || resize(&self->asks, SLOTS_MIN) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
book_dealloc(Book *self)
{
    PyMem_Free(self->bids.slots);
    PyMem_Free(self->asks.slots);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef book_methods[] = {
    {"load", (PyCFunction)book_load, METH_VARARGS, NULL},
    {"replace", (PyCFunction)book_replace, METH_O, NULL},
    {"apply", (PyCFunction)book_apply, METH_O, NULL},
    {NULL},
};

static PyGetSetDef book_getset[] = {
    {"bids", (getter)book_bids, NULL, NULL, NULL},
    {"asks", (getter)book_asks, NULL, NULL, NULL},
    {"_best_bid", (getter)book_best_bid, NULL, NULL, NULL},
    {"_best_ask", (getter)book_best_ask, NULL, NULL, NULL},
    {NULL},
};

static PyTypeObject BookType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "bookreel.book._packed.Sides",
    .tp_doc = "Both sides of a book.",
    .tp_basicsize = sizeof(Book),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = book_new,
    .tp_dealloc = (destructor)book_dealloc,
    .tp_methods = book_methods,
    .tp_getset = book_getset,
};

/* ---- reading: `at` moves on over what was read; 0: it is not written this way. A text ends with a NUL, at which every
 * one of these stops.
 */

static int
literal(const char **at, const char *text, size_t size)
{
    if (strncmp(*at, text, size) != 0)
        return 0;
    *at += size;
    return 1;
}

#define LITERAL(at, text) literal(at, text, sizeof(text) - 1)

/* A whole number from 0 on, of at most 18 digits. */
static int
whole(const char **at, long long *number)
{
    const char *start = *at, *p = start;
    long long value = 0;
    while (*p >= '0' && *p <= '9' && p - start < 19)
        value = p - start < 18 ? 10 * value + (*p - '0') : value, p++;
    if (p == start || p - start > 18 || (*start == '0' && p - start > 1))
        return 0;
    *number = value;
    *at = p;
    return 1;
}

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A number from 0 on that is a float64 to at most 19 digits; the nearest one, as the decoder has it. */
static int
number(const char **at, double *result)
{
    const char *start = *at, *p = start;
    uint64_t digits = 0;
    int count = 0, exponent = 0;
    if (*p == '0')
        p++;
    else
        for (; *p >= '0' && *p <= '9' && count < 19; p++, count++)
            digits = 10 * digits + (uint64_t)(*p - '0');
    if (p == start || (*p >= '0' && *p <= '9'))
        return 0;
    if (*p == '.') {
        const char *point = ++p;
        for (; *p >= '0' && *p <= '9' && count < 19 && p - point < 64; p++) {
            digits = 10 * digits + (uint64_t)(*p - '0');
            count += digits != 0;
        }
        exponent = (int)(point - p);
        if (p == point || (*p >= '0' && *p <= '9'))
            return 0;
    }
    if (*p == 'e' || *p == 'E') {
        int down = *++p == '-', power = 0;
        if (*p == '-' || *p == '+')
            p++;
        const char *first = p;
        for (; *p >= '0' && *p <= '9' && p - first < 3; p++)
            power = 10 * power + (*p - '0');
        if (p == first || p - first > 2)
            return 0;
        exponent += down ? -power : power;
    }
    /* Both factors are exact, so the result is rounded once: the nearest. Elsewhere Python finds it. */
    if (FLT_EVAL_METHOD == 0 && digits <= UINT64_C(1) << 53 && exponent >= -22 && exponent <= 22)
        *result = exponent < 0 ? (double)digits / POWERS[-exponent] : (double)digits * POWERS[exponent];
    else {
        char *end;
        *result = PyOS_string_to_double(start, &end, NULL);
        if (PyErr_Occurred())
            PyErr_Clear(), end = NULL;
        if (end != p || !(*result <= DBL_MAX) || (*result == 0.0 && digits != 0))
            return 0;
    }
    *at = p;
    return 1;
}

/* One side, `[[price,size],...]`. */
static int
side(const char **at, Level *levels, Py_ssize_t *count)
{
    if (!LITERAL(at, "["))
        return 0;
    if (LITERAL(at, "]"))
        return 1;
    do {
        Level level;
        if (*count == LEVELS_MAX || !LITERAL(at, "[") || !number(at, &level.price) || !LITERAL(at, ",")
            || !number(at, &level.size) || !LITERAL(at, "]") || level.price == 0.0)
            return 0;
        levels[(*count)++] = level;
    } while (LITERAL(at, ","));
    return LITERAL(at, "]");
}

/* The text from `start` on, what its event is about, and how long it is; NULL with an error set, or without one where the
 * text is declined.
 */
static const char *
opened(PyObject *const *args, const char **end)
{
    const char *text = PyBytes_AS_STRING(args[0]);
    *end = text + PyBytes_GET_SIZE(args[0]);
    Py_ssize_t start = PyLong_AsSsize_t(args[1]);
    if (start < 0 || start > *end - text || *end - text > TEXT_MAX)
        return NULL;
    return text + start;
}

static PyObject *
event_of(PyTypeObject *type, const Event *head, const Level *levels, Py_ssize_t count, PyObject *const *args)
{
    Event *event = PyObject_NewVar(Event, type, count);
    if (event == NULL)
        return NULL;
    event->symbol = Py_NewRef(args[2]);
    event->feed = Py_NewRef(args[3]);
    event->ts_push = head->ts_push * 1000000;
    event->ts_event = head->ts_event * 1000000;
    event->seq = head->seq;
    event->prev_seq = head->prev_seq;
    event->bids = head->bids;
    memcpy(event->levels, levels, (size_t)count * sizeof(Level));
    return (PyObject *)event;
}

static int
are_arguments(PyObject *const *args, Py_ssize_t nargs)
{
    return nargs >= 4 && PyBytes_CheckExact(args[0]) && PyLong_CheckExact(args[1]) && PyUnicode_CheckExact(args[2])
           && PyUnicode_CheckExact(args[3]);
}

static PyObject *
read_push(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !are_arguments(args, nargs)) {
        PyErr_SetString(PyExc_TypeError, "read_push(text: bytes, start: int, symbol: str, feed: str)");
        return NULL;
    }
    const char *end, *at = opened(args, &end);
    if (at == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    Event head = {.bids = 0};
    Level levels[LEVELS_MAX];
    Py_ssize_t count;
    if (!LITERAL(&at, ",\"ts\":") || !whole(&at, &head.ts_event) || head.ts_event > MILLIS_MAX
        || !LITERAL(&at, ",\"tick\":{\"seqNum\":") || !whole(&at, &head.seq) || !LITERAL(&at, ",\"prevSeqNum\":")
        || !whole(&at, &head.prev_seq) || head.prev_seq >= head.seq
        || (LITERAL(&at, ",\"bids\":") && !side(&at, levels, &head.bids)))
        Py_RETURN_NONE;
    count = head.bids;
    if ((LITERAL(&at, ",\"asks\":") && !side(&at, levels, &count)) || !LITERAL(&at, "}}") || at != end)
        Py_RETURN_NONE;
    head.ts_push = head.ts_event;
    return event_of(&DeltaType, &head, levels, count, args);
}

/* Best first, and no price twice: the decoder puts others in order, or refuses them. */
static int
in_order(const Level *levels, Py_ssize_t count, double sign)
{
    for (Py_ssize_t i = 1; i < count; i++)
        if (!(levels[i].price * sign < levels[i - 1].price * sign))
            return 0;
    return 1;
}

static PyObject *
read_image(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 5 || !are_arguments(args, nargs) || !PyBool_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "read_image(text: bytes, start: int, symbol: str, feed: str, numbered: bool)");
        return NULL;
    }
    const char *end, *at = opened(args, &end);
    if (at == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    int numbered = args[4] == Py_True; /* first comes the number; else it comes last, with a time */
    Event head = {.bids = 0};
    Level levels[LEVELS_MAX];
    Py_ssize_t count;
    if (!LITERAL(&at, ",\"ts\":") || !whole(&at, &head.ts_push) || head.ts_push > MILLIS_MAX
        || !LITERAL(&at, ",\"tick\":{")
        || (numbered && (!LITERAL(&at, "\"seqNum\":") || !whole(&at, &head.seq) || !LITERAL(&at, ",")))
        || !LITERAL(&at, "\"bids\":") || !side(&at, levels, &head.bids) || !in_order(levels, head.bids, 1.0))
        Py_RETURN_NONE;
    count = head.bids;
    head.ts_event = head.ts_push;
    if (!LITERAL(&at, ",\"asks\":") || !side(&at, levels, &count)
        || !in_order(levels + head.bids, count - head.bids, -1.0)
        || (!numbered
            && (!LITERAL(&at, ",\"version\":") || !whole(&at, &head.seq) || !LITERAL(&at, ",\"ts\":")
                || !whole(&at, &head.ts_event) || head.ts_event > MILLIS_MAX))
        || !LITERAL(&at, "}}") || at != end)
        Py_RETURN_NONE;
    return event_of(&ImageType, &head, levels, count, args);
}

static PyMethodDef functions[] = {
    {"read_push", (PyCFunction)(void (*)(void))read_push, METH_FASTCALL, NULL},
    {"read_image", (PyCFunction)(void (*)(void))read_image, METH_FASTCALL, NULL},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bookreel.book._packed",
    .m_doc = "The compiled half of bookreel.book.packed.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__packed(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made != NULL
        && (PyModule_AddType(made, &DeltaType) < 0 || PyModule_AddType(made, &ImageType) < 0
            || PyModule_AddType(made, &BookType) < 0))
        Py_CLEAR(made);
    return made;
}
