package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// memory measures the resident memory that a data set takes, over that of the empty server it is loaded into.
type memory struct{ data dataset }

// dataset is a number of commands, given one by one. random has the same sequence for both servers.
type dataset struct {
	count   int
	command func(dst []byte, i int, random *rand.Rand) []byte
}

func (m memory) run(ctx context.Context, l *lab) (outcome, error) {
	got := series{metric: resident, unit: mebibytes}
	each := series{metric: "resident above empty, each", unit: bytesEach}
	count := max(1, m.data.count/l.scale.divisor)
	for round := range l.rounds {
		grown, err := m.round(ctx, l, round, count)
		if err != nil {
			return outcome{}, err
		}
		for s, bytes := range grown {
			got.samples[s] = append(got.samples[s], float64(bytes)/(1<<20))
			each.samples[s] = append(each.samples[s], float64(bytes)/float64(count))
		}
	}
	return outcome{series: []series{got, each}}, nil
}

// round loads a fresh pair and reads each server's growth once it has settled. The second server is loaded while the
// first one settles.
func (m memory) round(ctx context.Context, l *lab, round, count int) (grown [2]int64, err error) {
	servers, err := l.startPair(ctx)
	if err != nil {
		return grown, err
	}
	defer servers.stop()
	var empty [2]int64
	var loaded [2]time.Time
	for _, s := range turn(round) {
		if empty[s], err = servers[s].residentBytes(); err != nil {
			return grown, err
		}
		random := rand.New(rand.NewPCG(1, uint64(round)))
		err = servers[s].load(count, func(dst []byte, i int) []byte { return m.data.command(dst, i, random) })
		if err != nil {
			return grown, err
		}
		loaded[s] = time.Now()
	}
	for _, s := range turn(round) {
		if err := wait(ctx, l.scale.settle-time.Since(loaded[s])); err != nil {
			return grown, err
		}
		full, err := servers[s].residentBytes()
		if err != nil {
			return grown, err
		}
		grown[s] = full - empty[s]
	}
	return grown, nil
}

// stringKeys is count distinct keys of 16 bytes with values of 32.
func stringKeys(count int) dataset {
	return dataset{count, func(dst []byte, i int, random *rand.Rand) []byte {
		return appendCommand(dst, "SET", keyName(i), text(random, 32))
	}}
}

// smallHashes is count hashes of five fields f0 to f4 with values of 10 bytes.
func smallHashes(count int) dataset {
	return dataset{count, func(dst []byte, i int, random *rand.Rand) []byte {
		return appendCommand(dst, "HSET", keyName(i), "f0", text(random, 10), "f1", text(random, 10),
			"f2", text(random, 10), "f3", text(random, 10), "f4", text(random, 10))
	}}
}

// sortedSetMembers is one sorted set of count members of 16 bytes, with scores in no order.
func sortedSetMembers(count int) dataset {
	return dataset{count, func(dst []byte, i int, random *rand.Rand) []byte {
		return appendCommand(dst, "ZADD", "zset", strconv.Itoa(random.IntN(1_000_000_000)), keyName(i))
	}}
}

// setMembers is one set of count members of 16 bytes.
func setMembers(count int) dataset {
	return dataset{count, func(dst []byte, i int, _ *rand.Rand) []byte {
		return appendCommand(dst, "SADD", "set", keyName(i))
	}}
}

// keyName answers 16 bytes, distinct for each i below 10^12.
func keyName(i int) string { return fmt.Sprintf("key:%012d", i) }

// text answers size letters, so that neither server can store the value as a number.
func text(random *rand.Rand, size int) string {
	buf := make([]byte, size)
	for i := range buf {
		buf[i] = 'a' + byte(random.IntN(26))
	}
	return string(buf)
}
