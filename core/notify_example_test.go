package core_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/notify"
)

// A service forgets what it has cached when any process rotates a key, and delivers to
// the targets of its config.
func ExampleKeyrotor_notifier() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	kr, err := openWithLog(ctx, filepath.Join(dir, "kr"))
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	heard := make(chan notify.Notice)
	kr.Notifier.Handle("cache", func(_ context.Context, n notify.Notice) { heard <- n }, notify.KeyRotated)
	if err := kr.Notifier.Start(); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.CreateKey(ctx, "payments", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}
	n := <-heard
	fmt.Println(n.Type, n.Key, n.PreviousVersion, n.NewVersion)
	targets, err := kr.Targets(ctx)
	fmt.Println(len(targets), targets[0].Type, targets[0].Target, targets[0].GivenUp, err)
	// Output:
	// key_rotated payments 1 2
	// 1 log audit 0 <nil>
}

// openWithLog makes a config with a notify block.
func openWithLog(ctx context.Context, dir string) (*core.Keyrotor, error) {
	config, err := core.Init(ctx, dir, core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("notify \"log\" \"audit\" {\n  path = \"events.jsonl\"\n}\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return core.Open(ctx, config)
}
