package stream

import "math/bits"

// An index leads from a key to places in forms: a hash table with chains, filled
// once. Two slices are cheaper to make than a map of slices.
type index struct {
	shift   uint
	heads   []int32 // by hash of key: 1 + the place of the first entry
	entries []entry
}

type entry struct {
	key      uint64
	next     int32 // 1 + the place of the next entry
	form, at int32
}

func hash(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 }

func newIndex(n int) index {
	width := bits.Len(uint(n))
	return index{uint(64 - width), make([]int32, 1<<width), make([]entry, 0, n)}
}

func (x *index) add(key uint64, form, at int) {
	head := &x.heads[hash(key)>>x.shift]
	x.entries = append(x.entries, entry{key, *head, int32(form), int32(at)})
	*head = int32(len(x.entries))
}

// first returns the first entry with key, nil if there is none.
func (x *index) first(key uint64) *entry { return x.from(x.heads[hash(key)>>x.shift], key) }

// next returns the entry after e with its key, nil if there is none.
func (x *index) next(e *entry) *entry { return x.from(e.next, e.key) }

func (x *index) from(i int32, key uint64) *entry {
	for i != 0 {
		e := &x.entries[i-1]
		if e.key == key {
			return e
		}
		i = e.next
	}
	return nil
}

// A bitmap tells of most keys that they were not added. 8 KiB stay in the cache
// beside the text.
type bitmap [1 << 10]uint64

func (b *bitmap) add(key uint64) {
	h := hash(key) >> 48
	b[h>>6] |= 1 << (h & 63)
}

// maybe reports whether key may have been added.
func (b *bitmap) maybe(key uint64) bool {
	h := hash(key) >> 48
	return b[h>>6]&(1<<(h&63)) != 0
}
