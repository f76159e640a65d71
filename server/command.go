package server

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Row is one command: everything about it in one literal, beside its handler. COMMAND and its kin, routing, ACL
// categories, argument generators of the tests and the reference page derive from it.
type Row struct {
	Name       string // lower case; of a subcommand only its own word
	Arity      int    // counts the name (for a subcommand both words); negative: at least so many
	Flags      Flag
	ACL        Category // explicit categories beyond those that flags and group imply
	Group      string   // as COMMAND DOCS names it: "string", "generic" ...
	Keys       []KeySpec
	FindKeys   func(args [][]byte) []keyRef // where Keys do not tell all
	Tips       []string
	Since      string // the Redis version that introduced it
	Deprecated string // the Redis version that deprecated it
	ReplacedBy string // what to use instead of a deprecated command
	Complexity string
	Summary    string
	Syntax     string // the arguments; arguments tells the notation
	Subs       []*Row
	Scope      Scope
	Wraps      bool    // its arguments are a command line, whose keys are its own
	OffLoop    bool    // may take long: runs on a goroutine of its own, as a barrier for its session
	Gather     *Gather // how a grid divides it, where it does: MGET over several slots, DBSIZE
	Run        func(*Call)

	container *Row // of a subcommand
	stats     rowStats

	parseSyntax sync.Once
	args        []*argument // Syntax, parsed
}

// Scope says which partitions a command's transaction locks.
type Scope uint8

const (
	ScopeKeys Scope = iota // those of its keys
	ScopeAll               // all of them: what concerns a whole database at once
	ScopeEach              // none beforehand: it walks them one by one (in a MULTI: all)
)

// Flag is a set of a command's properties, named as COMMAND INFO prints them.
type Flag uint32

const (
	Write Flag = 1 << iota
	ReadOnly
	DenyOOM
	Admin
	PubSub
	NoScript
	Blocking
	Loading
	Stale
	SkipMonitor
	SkipSlowlog
	Asking
	Fast
	NoAuth
	MayReplicate
	NoAsyncLoading
	NoMulti
	MovableKeys
	AllowBusy
)

// flagNames gives each flag's name, in bit order.
var flagNames = [...]string{
	"write", "readonly", "denyoom", "admin", "pubsub", "noscript", "blocking", "loading", "stale", "skip_monitor",
	"skip_slowlog", "asking", "fast", "no_auth", "may_replicate", "no_async_loading", "no_multi", "movablekeys", "allow_busy",
}

// hiddenFlags are ours to use; COMMAND INFO does not print them.
const hiddenFlags = MayReplicate

// rowStats are a row's counters since start or CONFIG RESETSTAT.
type rowStats struct {
	calls, nanos     atomic.Int64
	rejected, failed atomic.Int64 // refused before it ran; answered an error
	latency          histogram
}

// fullName is how INFO, ACL and errors name a row: "get", "client|list".
func (r *Row) fullName() string {
	if r.container != nil {
		return r.container.Name + "|" + r.Name
	}
	return r.Name
}

func (r *Row) arityFits(n int) bool {
	return r.Arity >= 0 && n == r.Arity || r.Arity < 0 && n >= -r.Arity
}

// families lists the tables of all families; a family's file holds its rows.
var families = [][]*Row{
	commandRows,
	connRows,
	clientRows,
	keyRows,
	expireRows,
	scanRows,
	sortRows,
	stringRows,
	setRows,
	zsetRows,
	zsetRangeRows,
	zsetStoreRows,
	incrRows,
	lcsRows,
	bitRows,
	bitFieldRows,
	hashRows,
	listRows,
	listIndexRows,
	multiRows,
	pubsubRows,
	configRows,
	infoRows,
	memoryRows,
	slowlogRows,
	latencyRows,
	serverRows,
	debugRows,
	clusterRows,
	gridRows,
	nearRows,
	loadRows,
	waitRows,
}

// table finds a row by its lower-case name; subTable a subcommand by "container|sub".
var table, subTable = map[string]*Row{}, map[string]*Row{}

// Filled here rather than where they are declared, because handlers read them.
func init() {
	for _, rows := range families {
		for _, r := range rows {
			table[r.Name] = r
			for _, s := range r.Subs {
				s.container = r
				subTable[r.Name+"|"+s.Name] = s
			}
		}
	}
}

// commandNameMax is longer than any command's name.
const commandNameMax = 64

// lookup finds the row of a command line: the subcommand's, where there is one.
func lookup(args [][]byte) *Row {
	var buf [2 * commandNameMax]byte
	if len(args[0]) > commandNameMax {
		return nil
	}
	name := appendLower(buf[:0], args[0])
	row := table[string(name)]
	if row == nil || len(row.Subs) == 0 || len(args) < 2 {
		return row
	}
	if len(args[1]) >= commandNameMax {
		return nil
	}
	return subTable[string(appendLower(append(name, '|'), args[1]))]
}

func appendLower(dst, s []byte) []byte {
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// lookupName finds a row by the name a user writes: "get", "CLIENT|LIST".
func lookupName(name string) *Row {
	name = strings.ToLower(name)
	if row := table[name]; row != nil {
		return row
	}
	return subTable[name]
}
