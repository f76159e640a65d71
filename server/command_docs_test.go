package server

import (
	"fmt"
	"strings"
	"testing"
)

// TestSyntax parses each form of the notation. Trees are written (name type token flags: members).
func TestSyntax(t *testing.T) {
	tests := []struct{ syntax, tree, usage string }{
		{"", "", ""},
		{"message", "(message string)", "message"},
		{"key count", "(key key @0) (count integer)", "key count"},
		{"increment:double ip:port yes/no", "(increment double) (ip:port string) (yes/no string)", "increment ip:port yes/no"},
		{"source destination@1 pattern@1", "(source key @0) (destination key @1) (pattern pattern @1)", "source destination pattern"},

		{"[REV]", "(rev pure-token REV optional)", "[REV]"},
		{"[COUNT count]", "(count integer COUNT optional)", "[COUNT count]"},
		{"[LIMIT offset count]", "(offset_count block LIMIT optional: (offset integer) (count integer))", "[LIMIT offset count]"},
		{"[start end]", "(start_end block optional: (start integer) (end integer))", "[start end]"},
		{"span:[start [end]]", "(span block optional: (start integer) (end integer optional))", "[start [end]]"},

		{"[NX | XX]", "(nx_xx oneof optional: (nx pure-token NX) (xx pure-token XX))", "[NX | XX]"},
		{"[NX|XX]", "(nx_xx oneof optional: (nx pure-token NX) (xx pure-token XX))", "[NX | XX]"},
		{"where:<LEFT | RIGHT>", "(where oneof: (left pure-token LEFT) (right pure-token RIGHT))", "<LEFT | RIGHT>"},
		{"by:[BY <MIN | MAX>]", "(by oneof BY optional: (min pure-token MIN) (max pure-token MAX))", "[BY <MIN | MAX>]"},
		{"change:[CH]", "(change pure-token CH optional)", "[CH]"},
		{"<a b | c>", "(a_b_c oneof: (a_b block: (a string) (b string)) (c string))", "<a b | c>"},
		{"{field value}", "(field_value block: (field string) (value string))", "field value"},
		{"id:[ID {field}]", "(id block ID optional: (field string))", "[ID field]"},

		{"member [member ...]", "(member string multiple)", "member [member ...]"},
		{"field value [field value ...]", "(field_value block multiple: (field string) (value string))", "field value [field value ...]"},
		{"[event [event ...]]", "(event string optional multiple)", "[event [event ...]]"},
		{"[WEIGHTS weight [weight ...]]", "(weight integer WEIGHTS optional multiple)", "[WEIGHTS weight [weight ...]]"},
		{"[GET pattern [GET pattern ...]]", "(pattern pattern GET optional multiple multiple_token)", "[GET pattern [GET pattern ...]]"},
		{"{parameter} [...]", "(parameter block multiple: (parameter string))", "parameter [parameter ...]"},
		{"<GET a | SET b> [...]", "(a_b oneof multiple: (a string GET) (b string SET))", "<GET a | SET b> [...]"},
	}
	for _, tt := range tests {
		row := &Row{Name: "test", Syntax: tt.syntax, Keys: []KeySpec{keyAt(1, RO)}}
		if got := tree(row.arguments()); got != tt.tree {
			t.Errorf("syntax %q\ngot  %s\nwant %s", tt.syntax, got, tt.tree)
		}
		if got := row.usage(); got != tt.usage {
			t.Errorf("usage of %q\ngot  %s\nwant %s", tt.syntax, got, tt.usage)
		}
	}
}

func tree(args []*argument) string {
	list := make([]string, len(args))
	for i, a := range args {
		text := a.name + " " + a.kind
		if a.token != "" {
			text += " " + a.token
		}
		if a.key >= 0 {
			text += fmt.Sprint(" @", a.key)
		}
		for bit, name := range argumentFlagNames {
			if a.flags()&(1<<bit) != 0 {
				text += " " + name
			}
		}
		if a.args != nil {
			text += ": " + tree(a.args)
		}
		list[i] = "(" + text + ")"
	}
	return strings.Join(list, " ")
}

// TestSyntaxRefuses: a slip in a row's syntax does not become some other tree.
func TestSyntaxRefuses(t *testing.T) {
	for _, syntax := range []string{"[key", "key]", "<a | >", "[a | b>", "[key ...]", "key ...", "a | b", "name:", "[]"} {
		func() {
			row := &Row{Name: "test", Syntax: syntax, Keys: []KeySpec{keyAt(1, RO)}}
			defer func() {
				if recover() == nil {
					t.Errorf("syntax %q: got %s, want a panic", syntax, tree(row.args))
				}
			}()
			row.arguments()
		}()
	}
}
