package server

import "testing"

// With "local" DEBUG is for connections over the loopback and the Unix socket. What another node forwards has no address.
func TestDebugLocal(t *testing.T) {
	for _, test := range []struct {
		info connInfo
		want bool
	}{
		{connInfo{Remote: "127.0.0.1:50000"}, true},
		{connInfo{Remote: "[::1]:50000"}, true},
		{connInfo{Remote: "/run/x:0", Unix: true}, true},
		{connInfo{Remote: "10.0.0.1:50000"}, false},
		{connInfo{Remote: "[fe80::1%eth0]:50000"}, false},
		{connInfo{}, false},
	} {
		for who, want := range map[string]bool{"no": false, "yes": true, "local": test.want} {
			c := testConfig()
			c.debug = who
			call := &Call{srv: &Server{config: c}, s: &Session{info: test.info}}
			if got := call.mayDebug(); got != want {
				t.Errorf("enable-debug-command %s, connection %+v: DEBUG allowed is %v, want %v", who, test.info, got, want)
			}
		}
	}
}
