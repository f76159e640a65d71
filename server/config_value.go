package server

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/neargrid/neargrid/protocol"
)

// Kinds of live settings. Each builds a setting over the place where its value lives.

// intSetting is a plain integer within bounds, both included.
func intSetting(v *atomic.Int64, low, high int64, names ...string) *setting {
	return &setting{
		names: names,
		get:   func() string { return strconv.FormatInt(v.Load(), 10) },
		parse: func(value string) (func(), error) {
			n, ok := protocol.ParseInt([]byte(value))
			if !ok {
				return nil, refusal("argument couldn't be parsed into an integer")
			}
			return storeWithin(v, n, low, high)
		},
	}
}

// memorySetting is a number of bytes within bounds, both included; units may be used to write it.
func memorySetting(v *atomic.Int64, low, high int64, names ...string) *setting {
	return &setting{
		names: names,
		get:   func() string { return strconv.FormatInt(v.Load(), 10) },
		parse: func(value string) (func(), error) {
			n, err := parseMemory(value)
			if errors.Is(err, errMemoryRange) {
				return nil, boundsError(low, high)
			}
			if err != nil {
				return nil, refusal("argument must be a memory value")
			}
			return storeWithin(v, n, low, high)
		},
	}
}

func storeWithin(v *atomic.Int64, n, low, high int64) (func(), error) {
	if n < low || n > high {
		return nil, boundsError(low, high)
	}
	return func() { v.Store(n) }, nil
}

func boundsError(low, high int64) error {
	return fmt.Errorf("argument must be between %d and %d inclusive", low, high)
}

// boolSetting is yes or no.
func boolSetting(v *atomic.Bool, names ...string) *setting {
	return &setting{
		names: names,
		get: func() string {
			if v.Load() {
				return "yes"
			}
			return "no"
		},
		parse: func(value string) (func(), error) {
			yes := strings.EqualFold(value, "yes")
			if !yes && !strings.EqualFold(value, "no") {
				return nil, refusal("argument must be 'yes' or 'no'")
			}
			return func() { v.Store(yes) }, nil
		},
	}
}

// enumSetting is one of some words, in the order in which Redis lists them.
func enumSetting(words []string, get func() string, set func(word string), names ...string) *setting {
	return &setting{
		names: names,
		get:   get,
		parse: func(value string) (func(), error) {
			word := strings.ToLower(value)
			if !slices.Contains(words, word) {
				return nil, refusal("argument(s) must be one of the following: " + strings.Join(words, ", "))
			}
			return func() { set(word) }, nil
		},
	}
}

// constant is a name whose value is true of this node for as long as it runs.
func constant(value string, names ...string) *setting {
	s := &setting{names: names, get: func() string { return value }}
	if value == "yes" || value == "no" {
		s.same = func(v string) bool { return strings.EqualFold(v, value) }
	}
	return s
}

var (
	errMemory      = refusal("not a size in bytes")
	errMemoryRange = refusal("size too large")
)

// memoryUnits are the units of sizes, in lower case: k, m and g are powers of 1000, kb, mb and gb of 1024.
var memoryUnits = map[string]int64{
	"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30,
}

// ParseMemory reads a size in bytes as Redis's configuration writes it: "100mb", "2gb", "1073741824".
func ParseMemory(text string) (bytes int64, err error) {
	if text == "" {
		return 0, errMemory
	}
	return parseMemory(text)
}

// parseMemory is ParseMemory as CONFIG SET has it: no digits at all are 0, as in Redis.
func parseMemory(text string) (bytes int64, err error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	unit, ok := memoryUnits[strings.ToLower(text[digits:])]
	if !ok {
		return 0, errMemory
	}
	if digits == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errMemoryRange
	}
	return n * unit, nil
}

// parseSeconds reads the last number of a client-output-buffer-limit.
func parseSeconds(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err == nil && n < 0 {
		err = refusal("negative")
	}
	return n, err
}

// parsePercentiles reads the words of latency-tracking-info-percentiles.
func parsePercentiles(value string) ([]float64, error) {
	list := []float64{}
	for _, word := range splitWords(value) {
		p, ok := protocol.ParseFloat([]byte(word))
		if !ok {
			return nil, refusal("Invalid latency-tracking-info-percentiles parameters")
		}
		if p < 0 || p > 100 {
			return nil, refusal("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
		}
		list = append(list, p)
	}
	return list, nil
}

// formatPercentiles prints them with as many decimals as they need, up to six.
func formatPercentiles(list []float64) string {
	var words []string
	for _, p := range list {
		text := strings.TrimRight(strconv.FormatFloat(p, 'f', 6, 64), "0")
		words = append(words, strings.TrimSuffix(text, "."))
	}
	return strings.Join(words, " ")
}

// splitWords splits a value of several words. Two blanks have an empty word between them.
func splitWords(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, " ")
}
