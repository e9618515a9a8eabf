// Command vaultserver is a real Vault server for Keyrotor's tests, made of Vault's
// own packages: core, HTTP API, file storage, audit to a file, the transit and kv
// secrets engines, logins by approle, cert and kubernetes. Nothing of it is imitated.
//
//	vaultserver -dir DIR [-memory] [-sealed] [-remove] [-http ADDR] [-https ADDR] [-log LEVEL]
//
// The first start in a folder makes certificates, initialises the storage with one
// key share and unseals it; a later one finds all that and unseals it again, unless
// -sealed is given. Then one line of JSON on standard output says where everything
// is. It ends at SIGTERM, at SIGINT, and when standard input does: so no server
// outlives the test that started it, however that test ended.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

// started is the line on standard output. testing/vaulttest reads it.
type started struct {
	HTTP       string `json:"http"`
	HTTPS      string `json:"https"`
	CA         string `json:"ca"`
	ClientCert string `json:"client_cert"`
	ClientKey  string `json:"client_key"`
	AuditLog   string `json:"audit_log"`
	Sealed     bool   `json:"sealed"`
	secrets
}

type options struct {
	dir, http, https, log  string
	memory, sealed, remove bool
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "the `folder` of certificates, audit log and storage; required")
	flag.StringVar(&o.http, "http", "127.0.0.1:0", "the `address` without TLS")
	flag.StringVar(&o.https, "https", "127.0.0.1:0", "the `address` with TLS")
	flag.StringVar(&o.log, "log", "warn", "the `level` of the log on standard error")
	flag.BoolVar(&o.memory, "memory", false, "keep the storage in memory, and forget it at the end")
	flag.BoolVar(&o.sealed, "sealed", false, "leave a storage that is found initialised sealed")
	flag.BoolVar(&o.remove, "remove", false, "remove the folder once standard input has ended")
	flag.Parse()
	if o.dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "vaultserver:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	// From the very first, so that a signal during the start ends in order too.
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	alone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(alone)
	}()

	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	remove := false
	defer func() {
		if remove {
			os.RemoveAll(dir)
		}
	}()
	certs, err := certificates(dir)
	if err != nil {
		return err
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(o.log), Output: os.Stderr})
	core, err := newCore(dir, o.memory, logger)
	if err != nil {
		return err
	}
	defer core.ShutdownWait()
	audit := filepath.Join(dir, "audit.log")
	keys, err := prepare(core, filepath.Join(dir, "keys.json"), audit, o.sealed)
	if err != nil {
		return err
	}

	plain, err := net.Listen("tcp", o.http)
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", o.https)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	errorLog := logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	for _, s := range []*http.Server{server(core, plain, errorLog), server(core, secure, errorLog)} {
		defer s.Close()
		go func() {
			if s.Addr == plain.Addr().String() {
				failed <- s.Serve(plain)
				return
			}
			s.TLSConfig = certs.config
			failed <- s.ServeTLS(secure, "", "")
		}()
	}
	if err := json.NewEncoder(os.Stdout).Encode(started{
		HTTP: "http://" + plain.Addr().String(), HTTPS: "https://" + secure.Addr().String(),
		CA: certs.ca, ClientCert: certs.client, ClientKey: certs.clientKey,
		AuditLog: audit, Sealed: core.Sealed(), secrets: keys,
	}); err != nil {
		return err
	}
	select {
	case <-end:
		return nil
	case <-alone:
		remove = o.remove
		return nil
	case err := <-failed:
		return errors.Join(errors.New("a listener ended"), err)
	}
}

func server(core *vault.Core, l net.Listener, errorLog *log.Logger) *http.Server {
	addr := l.Addr().String()
	return &http.Server{
		Addr: addr,
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Address: addr},
		}),
		ErrorLog:          errorLog,
		ReadHeaderTimeout: 10 * time.Second,
	}
}
