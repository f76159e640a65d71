package partition

import "encoding/binary"

// Type is the type of a key's value, as TYPE names it.
type Type uint8

const (
	TypeNone Type = iota
	TypeString
	TypeList
	TypeSet
	TypeZset
	TypeHash
)

func (t Type) String() string {
	return [...]string{"none", "string", "list", "set", "zset", "hash"}[t]
}

// Value is a live key's value, as it was when it was looked up: any change to the key makes it stale.
type Value struct {
	rec record
	p   *Partition
}

// kindTypes gives a packed kind's type.
var kindTypes = [16]Type{
	kindString: TypeString, kindStringRaw: TypeString, kindStringEmb: TypeString,
	kindList: TypeList, kindHash: TypeHash, kindSet: TypeSet, kindIntset: TypeSet, kindZset: TypeZset,
}

// Type is the value's type.
func (v Value) Type() Type {
	if v.rec.kind() == kindObject {
		return v.p.object(v.rec).typ()
	}
	return kindTypes[v.rec.kind()]
}

// ExpireAt is in ms since 1970; 0 = never.
func (v Value) ExpireAt() int64 { return v.rec.expireAt() }

// Encoding is OBJECT ENCODING's answer: what Redis 7.0 would use for this value, whatever we use.
func (v Value) Encoding() string {
	switch v.rec.kind() {
	case kindObject:
		return v.p.object(v.rec).encoding()
	case kindString:
		return stringEncoding(v.rec.value())
	case kindStringRaw:
		return "raw"
	case kindStringEmb:
		return rawOrEmbedded(len(v.rec.value()))
	case kindList:
		return "quicklist"
	case kindSet:
		return "hashtable"
	case kindIntset:
		return "intset"
	default:
		return "listpack"
	}
}

// Bytes is what the value occupies with its key and its part of the index.
func (v Value) Bytes() int {
	n := v.rec.size() + slotBytes*9/8
	if v.rec.kind() == kindObject {
		n += v.p.object(v.rec).bytes()
	}
	return n
}

// Dump appends the value in a form that Restore takes on any partition: kind, then for a packed kind or string the
// record's value, for a large one what its type's dump wrote. The encoding is part of it: a hash that became large and
// shrank again is large in the copy too.
func (v Value) Dump(dst []byte) []byte {
	kind := v.rec.kind()
	if kind != kindObject {
		return append(append(dst, kind), v.rec.value()...)
	}
	o := v.p.object(v.rec)
	return o.dump(append(dst, kindObject, byte(o.typ())))
}

// Restore makes key hold a dumped value. expireAt is in ms since 1970, 0 = never.
func (tx *Tx) Restore(key, dump []byte, expireAt int64) {
	p, h := tx.locate(key)
	p.emit(opRestore, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(expireAt))
	p.effects = appendBytes(p.effects, dump)
	p.applyRestore(tx.DB, h, key, dump, expireAt)
}

func (p *Partition) applyRestore(db int, h uint64, key, dump []byte, expireAt int64) bool {
	if len(dump) == 0 {
		return false
	}
	if kind := dump[0]; kind != kindObject {
		if kind == kindNone || kind >= kindObject {
			return false
		}
		copy(p.put(db, h, key, kind, len(dump)-1, expireAt).value(), dump[1:])
		return true
	}
	if len(dump) < 3 || int(dump[1]) >= len(restorers) || restorers[dump[1]] == nil {
		return false
	}
	o, ok := restorers[dump[1]](p, dump[2:])
	if !ok {
		o.release()
		return false
	}
	p.putObject(db, h, key, o, expireAt)
	return true
}

// validDump tells whether a packed value from elsewhere is well-formed and not empty; restorers see to large ones.
func validDump(dump []byte) bool {
	if len(dump) == 0 {
		return false
	}
	blob := dump[1:]
	count, _ := packedCount(blob)
	switch dump[0] {
	case kindList:
		return count > 0 && packedListValid(blob)
	case kindHash:
		return count > 0 && packedHashValid(blob)
	case kindSet:
		return count > 0 && packedSetValid(blob)
	case kindIntset:
		return packedIntsetLen(blob) > 0 && packedIntsetValid(blob)
	case kindZset:
		return count > 0 && packedZsetValid(blob)
	}
	return true
}

// restorers make a large value from what its dump wrote; each type's file adds its own. Where it is malformed the value is
// to be released.
var restorers [TypeHash + 1]func(p *Partition, dump []byte) (object, bool)
