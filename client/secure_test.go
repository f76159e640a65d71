package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestPassword: users and passwords are sent, and a wrong one is told at Connect.
func TestPassword(t *testing.T) {
	server := testredis.Start(t, "--requirepass", "secret", "--user", "app", "on", ">pass", "~*", "+@all")
	ctx := within(t, 30*time.Second)
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Password: "secret"}, ""},
		{Options{Username: "app", Password: "pass"}, ""},
		{Options{Password: "wrong"}, "WRONGPASS"},
		{Options{}, "NOAUTH"},
	} {
		client, err := Connect(ctx, []string{server.Addr}, c.o)
		if err == nil {
			client.Close()
		}
		if c.want == "" && err != nil || c.want != "" && (!IsCode(err, c.want) || !strings.Contains(err.Error(), "Options.Password")) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}

// TestTLS: with Options.TLS connections are encrypted, and the server's certificate is checked.
func TestTLS(t *testing.T) {
	server := testredis.Start(t)
	certificate, roots := testredis.SelfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() { // what is decrypted goes to the server
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server.Addr)
			if err != nil {
				from.Close()
				continue
			}
			wg.Go(func() { io.Copy(to, from); to.Close() })
			wg.Go(func() { io.Copy(from, to); from.Close() })
		}
	})
	ctx := within(t, 30*time.Second)
	c, err := Connect(ctx, []string{l.Addr().String()}, Options{TLS: &tls.Config{RootCAs: roots}, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	c.Close()
	c, err = Connect(ctx, []string{l.Addr().String()}, Options{TLS: &tls.Config{}})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("without the certificate's root: %v", err)
	}
	if err == nil {
		c.Close()
	}
}
