package server

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var sortRows = []*Row{
	{Name: "sort", Arity: -2, Flags: Write | DenyOOM | MovableKeys, ACL: CatSet | CatSortedSet | CatList | CatDangerous, Group: "generic", Scope: ScopeAll, OffLoop: true,
		Keys: []KeySpec{keyAt(1, RO|Access), keysUnknown(RO | Access), keysUnknown(OW | Update)}, Since: "1.0.0", Complexity: "O(N+M*log(M))",
		Summary: "Sorts a list, set or sorted set, and may store the result.",
		Syntax:  "key [BY pattern@1] [LIMIT offset count] [GET pattern@1 [GET pattern@1 ...]] order:[ASC | DESC] sorting:[ALPHA] [STORE destination@2]", FindKeys: findSortKeys, Run: cmdSort},
	{Name: "sort_ro", Arity: -2, Flags: ReadOnly | MovableKeys, ACL: CatSet | CatSortedSet | CatList | CatDangerous, Group: "generic", Scope: ScopeAll, OffLoop: true,
		Keys: []KeySpec{keyAt(1, RO|Access), keysUnknown(RO | Access)}, Since: "7.0.0", Complexity: "O(N+M*log(M))",
		Summary: "Sorts a list, set or sorted set; never writes.",
		Syntax:  "key [BY pattern@1] [LIMIT offset count] [GET pattern@1 [GET pattern@1 ...]] order:[ASC | DESC] sorting:[ALPHA]", FindKeys: findSortROKeys, Run: cmdSortRO},
}

// sortOptions are SORT's arguments.
type sortOptions struct {
	by            []byte // nil = the elements themselves
	unsorted      bool   // BY without a "*": the order of the value
	offset, count int64  // count -1 = all
	get           [][]byte
	desc, alpha   bool
	store         []byte // nil = reply
}

// sortItem is an element with what it is sorted by.
type sortItem struct {
	element []byte
	weight  []byte // with alpha; nil = there is none, which sorts first
	score   float64
}

func cmdSort(c *Call)   { sortCommand(c, true) }
func cmdSortRO(c *Call) { sortCommand(c, false) }

func sortCommand(c *Call, mayStore bool) {
	o, ok := c.sortOptions(mayStore)
	if !ok || c.denyPatterns(&o) {
		return
	}
	items, typ, ok := c.sortItems(o)
	if !ok {
		return
	}
	if o.unsorted && typ == partition.TypeSet && o.store != nil {
		// What is stored must not depend on how a set happens to be laid out.
		o.unsorted, o.alpha, o.by = false, true, nil
	}
	if o.unsorted {
		if o.desc && typ != partition.TypeSet {
			slices.Reverse(items)
		}
	} else {
		if !c.weigh(items, o) {
			c.W.Error("ERR One or more scores can't be converted into double")
			return
		}
		slices.SortStableFunc(items, o.compare)
	}
	from, n := o.window(len(items))
	c.sortReply(items[from:from+n], o)
}

func (c *Call) sortOptions(mayStore bool) (o sortOptions, ok bool) {
	o.count = -1
	for i := 2; i < len(c.Args); i++ {
		arg, more := c.Args[i], len(c.Args)-1-i
		switch {
		case is(arg, "asc"):
			o.desc = false
		case is(arg, "desc"):
			o.desc = true
		case is(arg, "alpha"):
			o.alpha = true
		case is(arg, "limit") && more >= 2:
			if o.offset, ok = c.intArg(i + 1); !ok {
				return o, false
			}
			if o.count, ok = c.intArg(i + 2); !ok {
				return o, false
			}
			i += 2
		case is(arg, "store") && mayStore && more >= 1:
			i++
			o.store = c.Args[i]
		case is(arg, "by") && more >= 1:
			i++
			o.by, o.unsorted = c.Args[i], !bytes.ContainsRune(c.Args[i], '*')
		case is(arg, "get") && more >= 1:
			i++
			o.get = append(o.get, c.Args[i])
		default:
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
	}
	return o, true
}

// window is the part of n items that LIMIT leaves.
func (o *sortOptions) window(n int) (from, count int) {
	start := min(max(o.offset, 0), int64(n))
	if o.count < 0 {
		return int(start), n - int(start)
	}
	return int(start), int(min(o.count, int64(n)-start))
}

// sortItems are the elements of the list, set or sorted set at the key, in its own order.
func (c *Call) sortItems(o sortOptions) (items []sortItem, typ partition.Type, ok bool) {
	v, ok := c.Tx.Find(c.Args[1])
	if !ok {
		return nil, partition.TypeNone, true
	}
	add := func(b []byte) { items = append(items, sortItem{element: b}) }
	switch typ = v.Type(); typ {
	case partition.TypeList:
		l, _ := v.List()
		for it := l.From(0); it.Next(); {
			add(it.Value())
		}
	case partition.TypeSet:
		s, _ := v.Set()
		for it := s.Iter(); it.Next(); {
			add(bytes.Clone(it.Member())) // an integer's digits are in the iterator
		}
	case partition.TypeZset:
		z, _ := v.Zset()
		for it := z.From(0, false); it.Next(); {
			add(it.Member())
		}
	default:
		c.W.Error(protocol.ErrWrongType)
		return nil, typ, false
	}
	return items, typ, true
}

// weigh finds what each item is sorted by. It reports false where that should be a number and is none.
func (c *Call) weigh(items []sortItem, o sortOptions) bool {
	ok := true
	for i := range items {
		item := &items[i]
		weight := item.element
		if o.by != nil {
			if weight = c.follow(o.by, item.element); weight == nil {
				continue
			}
		}
		if o.alpha {
			item.weight = weight
			continue
		}
		var number bool
		if item.score, number = sortNumber(weight); !number {
			ok = false
		}
	}
	return ok
}

// sortNumber reads a number as C's strtod does where the whole text must be one: the text ends at a NUL byte, leading space
// is allowed, and no text at all is 0.
func sortNumber(b []byte) (f float64, ok bool) {
	b = clip(b, len(b))
	if len(b) == 0 {
		return 0, true
	}
	return protocol.ParseFloat(bytes.TrimLeft(b, " \t\n\v\f\r"))
}

// compare is Redis's order: equal scores sort by the element.
func (o *sortOptions) compare(a, b sortItem) (n int) {
	switch {
	case !o.alpha:
		if n = cmp.Compare(a.score, b.score); n == 0 {
			n = bytes.Compare(a.element, b.element)
		}
	case a.weight == nil || b.weight == nil:
		n = cmp.Compare(oneIf(a.weight != nil), oneIf(b.weight != nil))
	default:
		n = bytes.Compare(a.weight, b.weight)
	}
	if o.desc {
		return -n
	}
	return n
}

// follow looks up what a pattern of BY or GET means for an element: "#" is the element itself; otherwise the first "*" is
// replaced by it, which gives a string's key, or with "->field" behind it a hash's key and field. nil = there is none.
func (c *Call) follow(pattern, element []byte) []byte {
	if string(pattern) == "#" {
		return element
	}
	star := bytes.IndexByte(pattern, '*')
	if star < 0 {
		return nil
	}
	prefix, suffix, field := pattern[:star], pattern[star+1:], []byte(nil)
	if arrow := bytes.Index(suffix, []byte("->")); arrow >= 0 && arrow+2 < len(suffix) {
		suffix, field = suffix[:arrow], suffix[arrow+2:]
	}
	key := slices.Concat(prefix, element, suffix)
	var found []byte
	if field != nil {
		if h, ok, _ := c.Tx.Hash(key); ok {
			found, ok = h.Get(field)
			if ok && found == nil {
				found = []byte{}
			}
		}
		return found
	}
	if s, ok, _ := c.Tx.String(key); ok {
		return s
	}
	return nil
}

// sortReply answers the items, or what GET finds for each, or stores that as a list.
func (c *Call) sortReply(items []sortItem, o sortOptions) {
	var out [][]byte
	for _, item := range items {
		if len(o.get) == 0 {
			out = append(out, item.element)
		}
		for _, pattern := range o.get {
			out = append(out, c.follow(pattern, item.element))
		}
	}
	if o.store != nil {
		c.Tx.Del(o.store)
		c.Tx.ListSplice(o.store, 0, 0, out...)
		c.W.Int(int64(len(out)))
		return
	}
	c.W.Array(len(out))
	for _, b := range out {
		if b == nil {
			c.W.Null()
			continue
		}
		c.W.Bulk(b)
	}
}
