package server

// Category is a set of ACL categories.
type Category uint32

const (
	CatKeyspace Category = 1 << iota
	CatRead
	CatWrite
	CatSet
	CatSortedSet
	CatList
	CatHash
	CatString
	CatBitmap
	CatHyperLogLog
	CatGeo
	CatStream
	CatPubSub
	CatAdmin
	CatFast
	CatSlow
	CatBlocking
	CatDangerous
	CatConnection
	CatTransaction
	CatScripting
)

// categoryNames gives each category's name, in bit order.
var categoryNames = [...]string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream",
	"pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
}

// groupCategories are the categories that a command's group implies.
var groupCategories = map[string]Category{
	"generic": CatKeyspace, "string": CatString, "list": CatList, "set": CatSet, "sorted-set": CatSortedSet, "hash": CatHash,
	"bitmap": CatBitmap, "hyperloglog": CatHyperLogLog, "geo": CatGeo, "stream": CatStream, "pubsub": CatPubSub,
	"connection": CatConnection, "transactions": CatTransaction, "scripting": CatScripting,
}

// categories are a command's ACL categories: its own, and those that its flags and group imply. The group implies nothing
// of a mere container, nor of a generic command that names what it is about itself (SORT, WAIT).
func (r *Row) categories() Category {
	set := r.ACL
	generic := r.Group == "generic" && r.ACL&(CatSet|CatSortedSet|CatList|CatConnection) != 0
	if !generic && (len(r.Subs) == 0 || r.Run != nil) {
		set |= groupCategories[r.Group]
	}
	for _, implied := range []struct {
		flag     Flag
		category Category
	}{
		{Write, CatWrite}, {Admin, CatAdmin | CatDangerous}, {PubSub, CatPubSub}, {Fast, CatFast}, {Blocking, CatBlocking},
	} {
		if r.Flags&implied.flag != 0 {
			set |= implied.category
		}
	}
	if r.Flags&ReadOnly != 0 && set&CatScripting == 0 {
		set |= CatRead
	}
	if set&CatFast == 0 {
		set |= CatSlow
	}
	return set
}

// categoryByName is the category of that name, in any case; 0 where there is none.
func categoryByName(name []byte) Category {
	for i, category := range categoryNames {
		if is(name, category) {
			return 1 << i
		}
	}
	return 0
}
