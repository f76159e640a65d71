package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// opKind is what an operation does to a register.
type opKind uint8

const (
	opRead opKind = iota
	opWrite
	opSwap // writes, and returns what was there
)

// operation is what a client did to a register, and what came of it. Every value is written once, so a read tells whose it saw.
type operation struct {
	kind       opKind
	value      string // written
	seen       string // read; "" = the key was not there
	start, end time.Duration
	unknown    bool // it may have been executed at any time from start on, or never; nothing was read
}

func (o operation) String() string {
	text := fmt.Sprintf("%.6f to %.6f: ", o.start.Seconds(), o.end.Seconds())
	switch o.kind {
	case opRead:
		return text + "read " + o.seen
	case opWrite:
		text += "write " + o.value
	case opSwap:
		text += "swap " + o.value
		if !o.unknown {
			text += " for " + o.seen
		}
	}
	if o.unknown {
		text += ", outcome unknown"
	}
	return text
}

// register is the model: a value, "" = not there.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		switch o := input.(operation); {
		case o.kind == opRead:
			return o.seen == state.(string), state
		case o.kind == opSwap && !o.unknown:
			return o.seen == state.(string), o.value
		default:
			return true, o.value
		}
	},
	Equal: func(a, b any) bool { return a.(string) == b.(string) },
}

// judgeMax bounds the search for an order that explains one history.
const judgeMax = 30 * time.Second

// judge tells whether some order of operations explains what clients saw of a register, which is not there at first.
func judge(history []operation) porcupine.CheckResult {
	seen := map[string]bool{}
	for _, o := range history {
		seen[o.seen] = true
	}
	var ops []porcupine.Operation
	for i, o := range history {
		end := int64(o.end)
		if o.unknown {
			// One that nobody saw can be the last of all, so it explains nothing and forbids nothing. Left out it costs no search.
			if !seen[o.value] {
				continue
			}
			end = math.MaxInt64
		}
		// Each stands for a client of its own: porcupine takes a client's operations to be one after the other.
		ops = append(ops, porcupine.Operation{ClientId: i, Input: o, Call: int64(o.start), Return: end})
	}
	return porcupine.CheckOperationsTimeout(register, ops, judgeMax)
}

// describe lists a history in the order in which operations began.
func describe(history []operation) string {
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b operation) int { return int(a.start - b.start) })
	var b strings.Builder
	for _, o := range history {
		fmt.Fprintln(&b, o)
	}
	return b.String()
}
