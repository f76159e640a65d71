package main

import (
	"fmt"
	"regexp"
)

// excluded are the rows that are never sent, each with its reason. One that the server under test does not have is an
// error, so that the list does not outlive its reasons.
var excluded = map[string]string{
	"shutdown":       "ends the server",
	"quit":           "closes the connection; a transcript covers it",
	"client|kill":    "closes connections by address and id, which differ",
	"client|pause":   "stops the reference's time for everybody",
	"client|reply":   "takes away replies: steps and replies would no longer match",
	"config|rewrite": "writes files",
}

// excludedPatterns are excluded rows by pattern; they may match nothing.
var excludedPatterns = []struct {
	re     *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`^debug(\||$)`), "answers only where enabled at start; not a contract"},
	{regexp.MustCompile(`^(acl|module|function|script|pubsub|dump|restore|restore-asking|migrate|monitor|replicaof|slaveof|sync|psync|failover|replconf|lolwut|save|bgsave|bgrewriteaof|role|pfdebug|pfselftest)(\||$)`), "no family of ours yet"},
	{regexp.MustCompile(`^client\|(tracking|trackinginfo|caching|getredir)$|^(subscribe|unsubscribe)$`), "what is pushed comes between replies; transcripts cover it"},
	{regexp.MustCompile(`^cluster(\||$)|^(asking|readonly|readwrite)$`), "one error at this door; tests of the server compare the cluster door"},
	{regexp.MustCompile(`^grid\.`), "no Redis has it"},
	{regexp.MustCompile(`^wait$`), "waits for copies that neither side has; tests of its own"},
}

// groups are the families whose rows are tested.
var groups = map[string]bool{
	"string": true, "hash": true, "list": true, "set": true, "sorted-set": true, "bitmap": true, "generic": true,
	"connection": true, "server": true, "transactions": true,
}

// oursAlone is a command by which our own server is known: of its rows each is tested, or named above.
const oursAlone = "grid.table"

// choose splits a server's rows into those to test and the names of those left out. It fails where the list of
// exclusions names a row that is not there.
func choose(rows []*row, only *regexp.Regexp) (chosen []*row, leftOut []string, err error) {
	byName := map[string]bool{}
	for _, r := range rows {
		byName[r.name] = true
	}
	for _, r := range rows {
		untested := !groups[r.group] || r.flags["blocking"]
		if reason := exclusion(r); reason != "" {
			leftOut = append(leftOut, r.name+": "+reason)
		} else if untested && !byName[oursAlone] {
			leftOut = append(leftOut, r.name+": no family of ours yet")
		} else if untested {
			return nil, nil, fmt.Errorf("%s, of group %s, is of a kind that is not tested: give it steps, or name it with a reason in exclude.go", r.name, r.group)
		} else if only.MatchString(r.group + " " + r.name) {
			chosen = append(chosen, r)
		}
	}
	for name := range excluded {
		if !byName[name] && only.String() == "" {
			return nil, nil, fmt.Errorf("%s is on the list of exclusions, but the server has no such command", name)
		}
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("no command matches %q", only)
	}
	return chosen, leftOut, nil
}

func exclusion(r *row) string {
	if reason := excluded[r.name]; reason != "" {
		return reason
	}
	for _, p := range excludedPatterns {
		if p.re.MatchString(r.name) {
			return p.reason
		}
	}
	return ""
}
