package main

import "fmt"

// special makes the arguments of rows whose tree says too little: options that depend on each other, or values that
// must not be random.
var special map[string]func(g *generator)

// harmless are settings that may take any value without getting in a run's way.
var harmless = []string{
	"hz", "slowlog-log-slower-than", "slowlog-max-len", "latency-tracking", "lfu-log-factor", "lfu-decay-time", "tcp-keepalive",
	"maxmemory-samples", "active-expire-effort",
}

func init() {
	special = map[string]func(g *generator){
		"auth": func(g *generator) {
			if g.chance(80) {
				g.add("default")
			}
			g.add(g.value0())
		},
		"hello": func(g *generator) {
			if g.chance(90) {
				g.add(g.pick("2", "3", "3", "2", "3", "2", "4", "1", "abc"))
			}
			if g.chance(15) {
				g.add("AUTH", "default", "x")
			}
			if g.chance(15) {
				g.add("SETNAME", "hello")
			}
		},
		"client|list": func(g *generator) {
			if g.chance(50) {
				g.add(g.pick("TYPE", "TYPE", "ID"), g.pick("normal", "pubsub", "bogus", "1", "master"))
			}
		},
		"client|no-evict": func(g *generator) { g.add(g.pick("ON", "OFF", "OFF", "bogus")) },
		"client|no-touch": func(g *generator) { g.add(g.pick("ON", "OFF", "OFF", "bogus")) },
		"client|unblock":  func(g *generator) { g.add("99999999", g.pick("TIMEOUT", "ERROR")) },
		"config|get": func(g *generator) {
			for range 1 + g.IntN(2) {
				g.add(g.configs[g.IntN(len(g.configs))][0])
			}
		},
		"config|set": func(g *generator) {
			switch n := g.IntN(10); {
			case n < 5:
				g.add("hash-max-listpack-entries", g.pick("8", "2", "128"))
			case n < 8:
				g.add("zset-max-listpack-entries", g.pick("8", "2", "128"), "set-max-intset-entries", g.pick("8", "2", "512"))
			case n < 9:
				g.add(g.pick(harmless...), g.pick("1", "5", "10", "100", "yes", "no"))
			default:
				g.add("hash-max-listpack-entries", g.pick("abc", "-1", "8"), g.pick("bogus", "hash-max-listpack-entries"), "1")
			}
		},
		"command": func(g *generator) {},
		"command|info": func(g *generator) {
			for range 1 + g.IntN(2) {
				g.add(g.names[g.IntN(len(g.names))])
			}
			if g.chance(10) {
				g.add("bogus")
			}
		},
		"command|docs":            func(g *generator) { g.add(g.names[g.IntN(len(g.names))]) },
		"command|list":            func(g *generator) { g.commandList() },
		"command|getkeys":         func(g *generator) { g.someCommand() },
		"command|getkeysandflags": func(g *generator) { g.someCommand() },
		"sort":                    func(g *generator) { g.sort(true) },
		"sort_ro":                 func(g *generator) { g.sort(false) },
		"zrange":                  func(g *generator) { g.zrange(); g.maybe("WITHSCORES", 40) },
		"zrangestore":             func(g *generator) { g.add(g.key('z')); g.zrange() },
		"zrangebyscore":           func(g *generator) { g.rangeByScore("-inf", "+inf") },
		"zrevrangebyscore":        func(g *generator) { g.rangeByScore("+inf", "-inf") },
		"zcount":                  func(g *generator) { g.scores() },
		"zremrangebyscore":        func(g *generator) { g.narrow() },
		"lset":                    func(g *generator) { g.lset() },
		"object|freq":             func(g *generator) { g.add(g.key(g.kind)) },
		"bitcount":                func(g *generator) { g.add(g.key('s')); g.bitRange() },
		"bitpos":                  func(g *generator) { g.add(g.key('s'), g.small(0, 1)); g.bitPosRange() },
		"memory|malloc-stats":     func(g *generator) {},
		"latency|graph":           func(g *generator) { g.add("command") },
		"latency|reset":           func(g *generator) {},
		"slowlog|get":             func(g *generator) { g.maybe("5", 50) },
	}
}

func (g *generator) value0() string { return g.pick("x", "", "secret") }

// lset changes lists that are filled again and again: elsewhere it mostly meets no list, or one that is too short.
func (g *generator) lset() {
	g.add(g.pick("l:1", "l:2", "l:3", g.key('l')), g.pick("0", "0", "-1", "-1", g.small(-3, 3)), g.member())
}

func (g *generator) maybe(word string, percent int) {
	if g.chance(percent) {
		g.token(word)
	}
}

func (g *generator) commandList() {
	if g.chance(50) {
		g.add("FILTERBY", g.pick("ACLCAT", "PATTERN", "MODULE", "BOGUS"), g.pick("read", "g*", "none"))
	}
}

// someCommand is a data command with keys, as an argument of COMMAND GETKEYS.
func (g *generator) someCommand() {
	g.add([][]string{
		{"GET", "a"}, {"MSET", "a", "1", "b", "2"}, {"ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"},
		{"SORT", "a", "BY", "w*", "STORE", "d"}, {"LMPOP", "2", "a", "b", "LEFT"}, {"ZADD", "z", "1", "m"}, {"DEL", "a", "b", "c"},
		{"COPY", "a", "b"}, {"SET", "k", "v", "GET"}, {"BITOP", "AND", "d", "a", "b"}, {"SINTERCARD", "2", "a", "b"},
		{"PING"}, {"GET"}, {"BOGUS", "x"}, {"OBJECT", "ENCODING", "k"}, {"RENAME", "a", "b"}, {"ZUNION", "x", "a"}, {"MGET", "a"},
		{"HSET", "h", "f", "v"}, {"LMOVE", "a", "b", "LEFT", "RIGHT"}, {"SMOVE", "a", "b", "m"}, {"BITFIELD", "b", "GET", "u8", "0"},
		{"SORT_RO", "a", "GET", "x*"}, {"GETEX", "k", "PERSIST"}, {"ZRANGESTORE", "d", "s", "0", "-1"},
	}[g.IntN(25)]...)
}

// sort: keys of numbers, or ALPHA; patterns that find string keys and hash fields. Equal weights keep no order in Redis
// where ALPHA and BY meet, so that what such a SORT stores is not a contract.
func (g *generator) sort(store bool) {
	alpha := g.chance(50)
	if alpha {
		g.add(g.key(g.pick("l", "t", "z", "n")[0]))
	} else {
		g.add(g.key('n'))
	}
	by := g.chance(35)
	if by {
		g.token("BY")
		g.add(g.pick("s:*", "w_*", "h:*->f1", "nosort", "*", "s:*->x"))
	}
	if g.chance(35) {
		g.token("LIMIT")
		g.add(g.small(-1, 5), g.small(-1, 8))
	}
	for g.chance(25) {
		g.token("GET")
		g.add(g.pick("#", "s:*", "w_*", "h:*->f1", "h:*->f2", "x", "missing_*"))
	}
	g.maybe("ASC", 15)
	g.maybe("DESC", 30)
	if alpha {
		g.token("ALPHA")
	}
	if store && !(alpha && by) && g.chance(30) {
		g.token("STORE")
		g.add(g.key('l'))
	}
}

// zrange is the source and range of ZRANGE and ZRANGESTORE: by rank, score or member.
func (g *generator) zrange() {
	switch mode := g.IntN(10); {
	case mode < 4:
		g.add(g.key('z'), g.small(-12, 3), g.small(-3, 12))
		g.maybe("REV", 30)
		if g.chance(5) {
			g.limit()
		}
	case mode < 7:
		g.add(g.key('z'))
		low, high := g.bounds("-inf", "+inf")
		if g.chance(40) {
			g.add(high, low, "BYSCORE", "REV")
		} else {
			g.add(low, high, "BYSCORE")
		}
		g.limit()
	default:
		g.add(g.key('y'))
		if g.chance(40) {
			g.add(g.lexEnd("+"), g.lexEnd("-"), "BYLEX", "REV")
		} else {
			g.add(g.lexEnd("-"), g.lexEnd("+"), "BYLEX")
		}
		g.limit()
	}
}

func (g *generator) limit() {
	if g.chance(35) {
		g.token("LIMIT")
		g.add(g.small(-1, 3), g.small(-2, 8))
	}
}

func (g *generator) scores() {
	low, high := g.bounds("-inf", "+inf")
	g.add(g.key('z'), low, high)
}

// narrow is a range of scores that seldom holds everything, so that the keys survive.
func (g *generator) narrow() {
	n := g.IntN(25) - 5
	if g.chance(15) {
		g.scores()
		return
	}
	g.add(g.key('z'), g.pick("", "(")+fmt.Sprint(n), fmt.Sprint(n+g.IntN(3)))
}

func (g *generator) rangeByScore(first, last string) {
	low, high := g.bounds(first, last)
	g.add(g.key('z'), low, high)
	g.maybe("WITHSCORES", 40)
	g.limit()
}

// bitRange is BITCOUNT's [start end [BYTE | BIT]].
func (g *generator) bitRange() {
	if g.chance(70) {
		g.add(g.small(-20, 20), g.small(-20, 20))
		g.maybe(g.pick("BIT", "BYTE", "BIT", "BYTE", "bogus"), 40)
	}
}

// bitPosRange is BITPOS's [start [end [BYTE | BIT]]].
func (g *generator) bitPosRange() {
	if !g.chance(70) {
		return
	}
	g.add(g.small(-20, 20))
	if g.chance(60) {
		g.add(g.small(-20, 20))
		g.maybe(g.pick("BIT", "BYTE", "BIT", "BYTE", "bogus"), 40)
	}
}
