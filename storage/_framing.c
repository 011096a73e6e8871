/* A journal's record, compiled: codec.py has the same in Python, and FORMAT.md says what the bytes are.
 *
 * Every frame becomes a record before anything else is done with it. In Python that takes two packings, three
 * concatenations and a call for the checksum; here one allocation and one pass.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#define HEADER 43
#define NAME_MAX 255

/* ---- the checksum, eight bytes at a time */

static uint32_t crc_tables[8][256];

static void
make_crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ UINT32_C(0xEDB88320) : crc >> 1;
        crc_tables[0][i] = crc;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            crc_tables[t][i] = (crc_tables[t - 1][i] >> 8) ^ crc_tables[0][crc_tables[t - 1][i] & 255];
}

static uint32_t
little(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t
checksum(uint32_t seed, const unsigned char *at, Py_ssize_t size)
{
    uint32_t crc = ~seed;
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ little(at), high = little(at + 4);
        crc = crc_tables[7][low & 255] ^ crc_tables[6][low >> 8 & 255] ^ crc_tables[5][low >> 16 & 255]
              ^ crc_tables[4][low >> 24] ^ crc_tables[3][high & 255] ^ crc_tables[2][high >> 8 & 255]
              ^ crc_tables[1][high >> 16 & 255] ^ crc_tables[0][high >> 24];
    }
    for (; size > 0; at++, size--)
        crc = crc >> 8 ^ crc_tables[0][(crc ^ *at) & 255];
    return ~crc;
}

static unsigned char *
put(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8)
        *at++ = (unsigned char)value;
    return at;
}

/* A number from 0 to `most`; -1 with an error set. */
static long long
within(PyObject *number, long long most)
{
    long long value = PyLong_AsLongLong(number);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < 0 || value > most) {
        PyErr_SetString(PyExc_OverflowError, "a field of a record is out of range");
        return -1;
    }
    return value;
}

static PyObject *
encode_record(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 9 || !PyBytes_CheckExact(args[4]) || !PyBytes_CheckExact(args[8])) {
        PyErr_SetString(PyExc_TypeError, "encode_record(seed, pos, ts_recv, mono, conn: bytes, epoch, direction, kind, "
                                         "payload: bytes)");
        return NULL;
    }
    long long seed = within(args[0], UINT32_MAX), epoch = within(args[5], UINT32_MAX);
    long long direction = within(args[6], UINT8_MAX), kind = within(args[7], UINT8_MAX);
    if (seed < 0 || epoch < 0 || direction < 0 || kind < 0)
        return NULL;
    /* These may be of any sign. */
    long long pos = PyLong_AsLongLong(args[1]), ts_recv = PyLong_AsLongLong(args[2]), mono = PyLong_AsLongLong(args[3]);
    if (PyErr_Occurred())
        return NULL;
    Py_ssize_t name = PyBytes_GET_SIZE(args[4]), size = PyBytes_GET_SIZE(args[8]);
    if (name > NAME_MAX || size > (Py_ssize_t)UINT32_MAX - HEADER - NAME_MAX) {
        PyErr_SetString(PyExc_OverflowError, "a line's name or a payload is too long");
        return NULL;
    }
    PyObject *record = PyBytes_FromStringAndSize(NULL, HEADER + name + size);
    if (record == NULL)
        return NULL;
    unsigned char *start = (unsigned char *)PyBytes_AS_STRING(record), *body = start + 8, *at = body;
    at = put(at, (uint64_t)size, 4);
    at = put(at, (uint64_t)pos, 8);
    at = put(at, (uint64_t)ts_recv, 8);
    at = put(at, (uint64_t)mono, 8);
    at = put(at, (uint64_t)epoch, 4);
    at = put(at, (uint64_t)direction, 1);
    at = put(at, (uint64_t)kind, 1);
    at = put(at, (uint64_t)name, 1);
    memcpy(at, PyBytes_AS_STRING(args[4]), (size_t)name);
    memcpy(at + name, PyBytes_AS_STRING(args[8]), (size_t)size);
    memcpy(start, "\xf5\xb0\xc4R", 4);
    put(start + 4, checksum((uint32_t)seed, body, HEADER - 8 + name + size), 4);
    return record;
}

static PyMethodDef functions[] = {
    {"encode_record", (PyCFunction)(void (*)(void))encode_record, METH_FASTCALL, NULL},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "bookreel.storage._framing",
    .m_doc = "A journal's record.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__framing(void)
{
    make_crc_tables();
    return PyModule_Create(&module);
}
