// Command serve runs the AWS of package awskmsfake for scripts/demo and for trying things
// out, on the loopback interface, until its standard input ends.
//
//	serve PAGE CREDENTIALS
//
// It makes a user with the policies of the provider's page (PAGE), writes a credentials file of
// AWS's form for it, and prints its URL.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// rotationTakes is long enough to be seen to be pending.
const rotationTakes = 500 * time.Millisecond

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: serve PAGE CREDENTIALS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(page, file string) error {
	policy, err := documented(page)
	if err != nil {
		return err
	}
	s := awskmsfake.New(awskmsfake.Config{RotationTakes: rotationTakes, Quotas: awskmsfake.PublishedQuotas()})
	c, err := s.User("keyrotor", policy)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", c.AccessKeyID, c.SecretAccessKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Fprintln(os.Stdout, "http://"+l.Addr().String())
	if err := s.Listen(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// documented is the policies of the provider's page in one, for any key.
func documented(page string) (string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	_, section, _ := strings.Cut(string(text), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var all struct{ Statement []json.RawMessage }
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(section, -1) {
		var one struct{ Statement []json.RawMessage }
		if err := json.Unmarshal([]byte(block[1]), &one); err != nil {
			return "", fmt.Errorf("%s: %w", page, err)
		}
		all.Statement = append(all.Statement, one.Statement...)
	}
	if len(all.Statement) == 0 {
		return "", fmt.Errorf("%s has no section on least privilege", page)
	}
	policy, err := json.Marshal(all)
	return strings.ReplaceAll(string(policy), "key/1234abcd-12ab-34cd-56ef-1234567890ab", "key/*"), err
}
