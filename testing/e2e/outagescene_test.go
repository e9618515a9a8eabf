package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/jonboulle/clockwork"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/outage"
	"github.com/keyrotor/keyrotor/core/store/sqlite"
	"github.com/keyrotor/keyrotor/testing/awskmsfake"
)

// outageScene is a host with a plugin process, an AWS that goes away as told, and a clock
// that the test turns. The key has half an hour of ttl, and an hour of grace.
type outageScene struct {
	t     *testing.T
	fake  *awskmsfake.Server
	admin *kms.Client
	user  awskmsfake.Credentials
	arn   string
	clock *clockwork.FakeClock
	kr    *core.Keyrotor
	store *sqlite.Store // another look at the host's
	token []byte
	// last is when AWS last opened something.
	last time.Time
}

const (
	outageTTL   = 30 * time.Minute
	outageGrace = time.Hour
)

func newOutageScene(t *testing.T) *outageScene {
	t.Helper()
	buildPlugin(t, "aws-kms")
	dir, err := os.MkdirTemp("/tmp", "kr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	s := &outageScene{t: t, fake: awskmsfake.Start(t, awskmsfake.Config{}), clock: clockwork.NewFakeClockAt(time.Now())}
	s.makeKEK()
	path, err := core.Init(t.Context(), filepath.Join(dir, "kr"), core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		t.Fatal(err)
	}
	s.configure(path)
	if s.kr, err = (core.Opener{CreateStore: true, Clock: s.clock}).Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.kr.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.store, err = sqlite.Open(t.Context(), sqlite.Config{Path: s.kr.Config.Storage.Path, Now: s.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	if _, err := s.kr.CreateKey(t.Context(), "payments", core.KeyOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.token, err = s.kr.Encrypt(t.Context(), "payments", []byte("a card"), nil); err != nil {
		t.Fatal(err)
	}
	s.last = s.clock.Now()
	s.fake.Forget()
	return s
}

// makeKEK makes the KEK, and who may use it.
func (s *outageScene) makeKEK() {
	s.t.Helper()
	var err error
	if s.user, err = s.fake.User("service", awskmsfake.AllowAll); err != nil {
		s.t.Fatal(err)
	}
	root, err := s.fake.User("admin", awskmsfake.AllowAll)
	if err != nil {
		s.t.Fatal(err)
	}
	s.admin = kms.New(kms.Options{
		Region: awskmsfake.Region, BaseEndpoint: &s.fake.URL, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, root.SecretAccessKey, ""),
	})
	kek, err := s.admin.CreateKey(s.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.arn = *kek.KeyMetadata.Arn
}

func (s *outageScene) configure(path string) {
	s.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	block := fmt.Sprintf(`provider "aws-kms" "aws" {
  key_id            = %q
  endpoint          = %q
  access_key_id     = %q
  secret_access_key = %q
}
key "payments" {
  cache {
    ttl   = "30m"
    grace = "1h"
  }
}
`, s.arn, s.fake.URL, s.user.AccessKeyID, s.user.SecretAccessKey)
	text = regexp.MustCompile(`(?ms)^provider .*^}\n`).ReplaceAllLiteral(text, []byte(block))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// until waits until something has become so. Where a timer of the host was not set yet
// when the clock was turned, it is turned on a little.
func (s *outageScene) until(what string, is func() bool) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 1; n < 15_000; n++ {
		if is() {
			return
		}
		if <-tick.C; n%100 == 0 {
			s.clock.Advance(time.Second)
		}
	}
	s.t.Fatalf("it never comes that %s; %+v", what, s.kr.KeyManagers())
}

// status is that of the only KEK.
func (s *outageScene) status() engine.KeyManagerStatus {
	s.t.Helper()
	list := s.kr.KeyManagers()
	if len(list) != 1 || list[0].Provider != "aws" || list[0].KEKID != s.arn {
		s.t.Fatalf("%+v", list)
	}
	return list[0]
}

func (s *outageScene) untilState(want outage.State) {
	s.t.Helper()
	s.until("it is "+string(want), func() bool { return s.status().State == want })
}

// to turns the clock to so long after AWS last opened something.
func (s *outageScene) to(d time.Duration) {
	s.t.Helper()
	s.clock.Advance(max(0, s.last.Add(d).Sub(s.clock.Now())))
}

// works reads and writes; nothing of it reaches AWS. What there may be while it is away
// is one more try of the host itself, which takes up to three requests.
func (s *outageScene) works(when string) {
	s.t.Helper()
	before, most := len(s.fake.Calls("*")), 0
	if s.status().State != outage.OK {
		most = 3
	}
	for range 10 {
		got, err := s.kr.Decrypt(s.t.Context(), s.token, nil)
		if err != nil || string(got) != "a card" {
			s.t.Errorf("%s: the token opens to %q, %v", when, got, err)
		}
		if _, err := s.kr.Encrypt(s.t.Context(), "payments", []byte("another"), nil); err != nil {
			s.t.Errorf("%s: %v", when, err)
		}
	}
	if n := len(s.fake.Calls("*")) - before; n > most {
		s.t.Errorf("%s: reads and writes took %d requests", when, n)
	}
}

// fails reads and writes in vain, at once; as to requests, it is as with works.
func (s *outageScene) fails(when string, want ...error) {
	s.t.Helper()
	before := len(s.fake.Calls("*"))
	for range 10 {
		_, err := s.kr.Decrypt(s.t.Context(), s.token, nil)
		_, err2 := s.kr.Encrypt(s.t.Context(), "payments", []byte("another"), nil)
		for _, want := range want {
			if !errors.Is(err, want) || !errors.Is(err2, want) {
				s.t.Errorf("%s: read %v, write %v; want %v", when, err, err2, want)
			}
		}
	}
	if n := len(s.fake.Calls("*")) - before; n > 3 {
		s.t.Errorf("%s: reads and writes took %d requests", when, n)
	}
}

// held is how many uses of the key's version are out.
func (s *outageScene) held() uint64 {
	s.t.Helper()
	n, err := s.store.Leased(s.t.Context(), "payments", 1)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// wantEvents compares what the history says of key managers, oldest first.
func (s *outageScene) wantEvents(want ...string) []history.Event {
	s.t.Helper()
	var texts []string
	var events []history.Event
	read := func() bool {
		texts, events = nil, nil
		page, err := s.kr.History(s.t.Context(), history.Query{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, raw := range slices.Backward(page.Events) {
			e, err := history.Decode(raw)
			if err != nil {
				s.t.Fatal(err)
			}
			if e.Type == history.Degraded || e.Type == history.Recovered {
				texts = append(texts, fmt.Sprintf("%s %s %s", e.Provider, e.Type, e.ErrorCode))
				events = append(events, e)
			}
		}
		return len(texts) >= len(want) // an event may still be on its way
	}
	s.until(fmt.Sprintf("the history has %q", want), read)
	if !slices.Equal(texts, want) {
		s.t.Errorf("the history has %q, want %q", texts, want)
	}
	return events
}

// proved waits until AWS has opened something anew, which takes one request.
func (s *outageScene) proved() {
	s.t.Helper()
	s.until("AWS has opened something", func() bool { return s.status().LastSuccess.After(s.last) })
	s.last = s.status().LastSuccess
	if calls := s.fake.Calls("*"); len(calls) != 1 || calls[0].Name != "TrentService.Decrypt" {
		s.t.Errorf("it took %+v", calls)
	}
	s.fake.Forget()
}

// opens reads, which needs AWS once, and then works.
func (s *outageScene) opens() {
	s.t.Helper()
	got, err := s.kr.Decrypt(s.t.Context(), s.token, nil)
	if err != nil || string(got) != "a card" {
		s.t.Errorf("the token opens to %q, %v", got, err)
	}
	s.works("back")
}
