package server_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
)

// infoField is a line of INFO, in its section.
type infoField struct{ section, value string }

// manyFields are fields of which there is one for each command, kind of error or database.
var manyFields = regexp.MustCompile(`^(cmdstat_|errorstat_|latency_percentiles_usec_|db\B).*$`)

func readInfo(t *testing.T, conn *testredis.Conn, args ...string) map[string]infoField {
	t.Helper()
	fields, section := map[string]infoField{}, ""
	for line := range strings.SplitSeq(conn.Do(t, append([]string{"INFO"}, args...)...).Text, "\r\n") {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			section = title
		} else if name, value, ok := strings.Cut(line, ":"); ok {
			if many := manyFields.FindStringSubmatch(name); many != nil {
				name = many[1] + "*"
			}
			fields[name] = infoField{section, value}
		}
	}
	if len(fields) < 5 {
		t.Fatalf("INFO %v: %d fields", args, len(fields))
	}
	return fields
}

// infoNumber is the value of one field that is a number.
func infoNumber(t *testing.T, conn *testredis.Conn, name string) int {
	t.Helper()
	n, err := strconv.Atoi(readInfo(t, conn)[name].value)
	if err != nil {
		t.Fatalf("INFO, %s: %v", name, err)
	}
	return n
}

// shapeOf tells what kind of value a field has: 12 and -1 are "n", 0.25 is "n.nn", 1.5M "size", 3.00% "n.nn%".
func shapeOf(value string) string {
	switch {
	case regexp.MustCompile(`^\d+(\.\d\d)?[BKMGTP]$`).MatchString(value):
		return "size"
	case regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(value):
		return "40 hex digits"
	case regexp.MustCompile(`^-?\d+(\.\d+)?%?$`).MatchString(value):
		whole, rest, _ := strings.Cut(strings.TrimPrefix(value, "-"), ".")
		if rest == "" {
			return "n" + strings.TrimLeft(whole, "0123456789")
		}
		return "n." + regexp.MustCompile(`\d`).ReplaceAllString(rest, "n")
	case strings.Contains(value, "="):
		return regexp.MustCompile(`=[^,]*`).ReplaceAllString(value, "=")
	}
	return "text"
}

// otherShapes are fields whose values are of another kind than Redis's, with the reason.
var otherShapes = map[string]string{
	"redis_build_id": "0: there was no build of Redis",
}

// Every field of a redis-server's INFO is in ours, in the same section and with a value of the same kind, or in the list of those
// that are absent. In that list is nothing else.
func TestInfoFields(t *testing.T) {
	redis := testredis.Start(t).Dial(t)
	ours, err := testredis.Dial(startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	for _, conn := range []*testredis.Conn{redis, ours} {
		conn.Do(t, "SET", "k", "v", "EX", "100")
		conn.Do(t, "INCR", "k") // an error
	}
	absent := readInfoAbsent(t)
	all := map[string]infoField{}
	for _, sections := range [][]string{nil, {"everything"}, {"all"}, {"server", "keyspace"}} {
		theirs, have := readInfo(t, redis, sections...), readInfo(t, ours, sections...)
		for name, want := range theirs {
			all[name] = want
			got, there := have[name]
			switch {
			case there && absent[name]:
				t.Errorf("INFO %v: %s is there, and in the list of absent fields", sections, name)
			case !there && !absent[name]:
				t.Errorf("INFO %v: %s:%s is neither there nor in the list of absent fields", sections, name, want.value)
			case !there:
			case got.section != want.section:
				t.Errorf("INFO %v: %s is in section %s, Redis has it in %s", sections, name, got.section, want.section)
			case shapeOf(got.value) != shapeOf(want.value) && otherShapes[name] == "":
				t.Errorf("INFO %v: %s:%s, Redis has %s", sections, name, got.value, want.value)
			}
		}
	}
	for name := range absent {
		if _, there := all[name]; !there {
			t.Errorf("%s is in the list of absent fields, and Redis does not have it", name)
		}
	}
	// What Redis does not have stands in sections of our own, but for these.
	extra := map[string]bool{"protocol_errors": true}
	for name, field := range readInfo(t, ours, "everything") {
		if _, there := all[name]; !there && field.section != "Neargrid" && !extra[name] {
			t.Errorf("%s:%s in section %s is no field of Redis's", name, field.value, field.section)
		}
	}
}

func readInfoAbsent(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("testdata/info_absent.txt")
	if err != nil {
		t.Fatal(err)
	}
	names, reason := map[string]bool{}, false
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSpace(line); {
		case line == "":
			reason = false
		case line[0] == '#':
			reason = true
		case !reason:
			t.Errorf("info_absent.txt: %s has no reason above it", line)
		default:
			names[line] = true
		}
	}
	return names
}

// Fields that count what happens: each is what happened, and RESETSTAT sets it to zero.
func TestInfoCounts(t *testing.T) {
	conn, err := testredis.Dial(startWith(t, server.Options{Listen: "127.0.0.1:0", ConfigFile: "/etc/grid.conf"}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	before := readInfo(t, conn)
	if got := before["config_file"].value; got != "/etc/grid.conf" {
		t.Errorf("config_file: %q", got)
	}
	want := "ERR Rewriting config file: a node never writes to it. Put what is to stay into /etc/grid.conf by hand"
	if got := conn.Do(t, "CONFIG", "REWRITE").Text; got != want {
		t.Errorf("CONFIG REWRITE:\n got %s\nwant %s", got, want)
	}
	const pings = 10
	for range pings {
		conn.Do(t, "PING")
	}
	after := readInfo(t, conn)
	for _, name := range []string{"total_reads_processed", "total_writes_processed"} {
		a, _ := strconv.Atoi(before[name].value)
		b, _ := strconv.Atoi(after[name].value)
		if got := b - a; got < pings || got > pings+2 {
			t.Errorf("%s: %d more after %d commands one by one, and INFO", name, got, pings)
		}
	}

	conn.Do(t, slices.Concat([]string{"RPUSH", "large"}, someWords(5000))...)
	conn.Do(t, "UNLINK", "large")
	eventually(t, "lazyfreed_objects", func() bool { return infoNumber(t, conn, "lazyfreed_objects") == 1 })
	if got := infoNumber(t, conn, "lazyfree_pending_objects"); got != 0 {
		t.Errorf("lazyfree_pending_objects: %d, want 0", got)
	}

	conn.Do(t, "CONFIG", "SET", "maxmemory", "1") // nothing can be evicted
	if got := conn.Do(t, "SET", "k", "v").Text; !strings.HasPrefix(got, "OOM") {
		t.Errorf("SET over maxmemory: %q", got)
	}
	eventually(t, "current_eviction_exceeded_time", func() bool { return infoNumber(t, conn, "current_eviction_exceeded_time") > 0 })
	conn.Do(t, "CONFIG", "SET", "maxmemory", "0")
	eventually(t, "current_eviction_exceeded_time", func() bool { return infoNumber(t, conn, "current_eviction_exceeded_time") == 0 })
	if total := infoNumber(t, conn, "total_eviction_exceeded_time"); total == 0 {
		t.Error("total_eviction_exceeded_time: 0 after memory was over its limit")
	}

	conn.Do(t, "CONFIG", "RESETSTAT")
	for _, name := range []string{"lazyfreed_objects", "total_eviction_exceeded_time", "expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"} {
		if got := infoNumber(t, conn, name); got != 0 {
			t.Errorf("%s: %d after RESETSTAT", name, got)
		}
	}
	for _, name := range []string{"total_reads_processed", "total_writes_processed"} {
		if got := infoNumber(t, conn, name); got > 10 {
			t.Errorf("%s: %d after RESETSTAT, want no more than the commands since", name, got)
		}
	}
}

// What a client has sent of a command that is not complete shows as the largest input of late.
func TestInfoRecentBuffers(t *testing.T) {
	addr := startServer(t)
	conn, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := infoNumber(t, conn, "client_recent_max_input_buffer"); got != 0 {
		t.Errorf("client_recent_max_input_buffer: %d where nobody has sent anything", got)
	}
	slow, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	const size = 300_000
	fmt.Fprintf(slow, "*2\r\n$3\r\nGET\r\n$%d\r\n%s", 2*size, strings.Repeat("k", size))
	eventually(t, "client_recent_max_input_buffer", func() bool {
		n := infoNumber(t, conn, "client_recent_max_input_buffer")
		return n >= size && n <= 4*size
	})
}

func someWords(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("word %d", i))
	}
	return list
}

// eventually waits for something that cron, or a goroutine, is to bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not as it has to be after 10 s", what)
		}
	}
}
