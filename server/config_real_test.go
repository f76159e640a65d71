package server

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

// otherDefaults are the names whose value differs from a fresh redis-server's, with the reason.
var otherDefaults = map[string]string{
	"port":                          "the test's port",
	"dynamic-hz":                    "hz holds whatever the number of clients",
	"lazyfree-lazy-eviction":        "large values are always released off the event loop",
	"lazyfree-lazy-expire":          "as above",
	"lazyfree-lazy-server-del":      "as above",
	"lazyfree-lazy-user-del":        "as above",
	"lazyfree-lazy-user-flush":      "as above",
	"cluster-require-full-coverage": "a partition that is lost does not stop the others",
	"set-proc-title":                "the process leaves its title alone",
}

// Every name of Redis's CONFIG is a setting here or stands in the list of absent ones, not both; every name here is
// Redis's, or begins with "grid-"; and both begin with the same values.
func TestConfigNamesAreRedis(t *testing.T) {
	redis := readConfig(t, testredis.Start(t).Dial(t))
	absent := readAbsent(t)
	ours := map[string]string{}
	for _, pair := range testConfig().Get("*") {
		ours[pair[0]] = pair[1]
	}
	delete(redis, "requirepass") // the test sets one of its own
	delete(ours, "requirepass")
	for name, want := range redis {
		got, have := ours[name]
		switch {
		case have && absent[name]:
			t.Errorf("%s is a setting, and in the list of absent ones", name)
		case !have && !absent[name]:
			t.Errorf("%s is neither a setting nor in the list of absent ones", name)
		case have && got != want && otherDefaults[name] == "":
			t.Errorf("%s: got %q, Redis has %q", name, got, want)
		case have && got == want && otherDefaults[name] != "":
			t.Errorf("%s is said to differ from Redis, and is %q in both", name, got)
		}
	}
	for name := range absent {
		if _, there := redis[name]; !there {
			t.Errorf("%s is in the list of absent names, and Redis does not have it", name)
		}
	}
	for name := range ours {
		if _, there := redis[name]; !there && !strings.HasPrefix(name, "grid-") {
			t.Errorf("%s is a setting, and Redis does not have it", name)
		}
	}
}

// Redis answers what TestConfigSet wants, and has the same value afterwards.
func TestConfigSetIsRedis(t *testing.T) {
	conn := testredis.Start(t).Dial(t)
	fresh := readConfig(t, conn)
	for _, test := range configSets {
		if test.ours {
			continue
		}
		if got := conn.Do(t, append([]string{"CONFIG", "SET"}, test.set...)...).Text; got != test.want {
			t.Errorf("CONFIG SET %q: Redis answers\n     %s\nwant %s", test.set, got, test.want)
		}
		if got := readConfig(t, conn)[test.get]; got != test.then {
			t.Errorf("CONFIG SET %q, then GET %s: Redis has %q, want %q", test.set, test.get, got, test.then)
		}
		for i := 0; i < len(test.set); i += 2 {
			name := strings.ToLower(test.set[i])
			if value, known := fresh[name]; known && name != "daemonize" {
				conn.Do(t, "CONFIG", "SET", name, value)
			}
		}
	}
}

func readConfig(t *testing.T, conn *testredis.Conn) map[string]string {
	t.Helper()
	all := map[string]string{}
	reply := conn.Do(t, "CONFIG", "GET", "*")
	for pair := range slices.Chunk(reply.Elems, 2) {
		all[pair[0].Text] = pair[1].Text
	}
	if len(all) < 100 {
		t.Fatalf("CONFIG GET *: %d names, want more than 100", len(all))
	}
	return all
}

func readAbsent(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("testdata/config_absent.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names[line] = true
		}
	}
	return names
}

// Every field of Config is read where commands are served: INFO and CONFIG do not count.
// A setting that nothing reads would be stored and ignored.
func TestConfigIsRead(t *testing.T) {
	var source strings.Builder
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "config") || file == "cmd_info.go" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		if field.IsExported() && !strings.Contains(source.String(), "."+field.Name+".Load()") {
			t.Errorf("nothing reads %s", field.Name)
		}
	}
}
