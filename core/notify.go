package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/keyrotor/keyrotor/core/config"
	"github.com/keyrotor/keyrotor/core/notify"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// Delivery is one try to tell a target something.
type Delivery struct {
	Target string
	// Err is nil if it was delivered. It is notify.ErrRefused if the target refused
	// this one message.
	Err error
}

// addTargets builds the targets of the config's notify blocks, and reports what is wrong
// with all of them.
func (s *Setup) addTargets() error {
	var errs []error
	for _, n := range s.Config.Notify {
		sender, err := s.sender(n)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
			continue
		}
		s.targets = append(s.targets, notify.Target{
			Name: n.Name, Types: n.Types, Keys: n.Keys, Timeout: n.Timeout, GiveUp: n.GiveUp,
			Sender: observed{sender, n.Name, s.opener.OnDelivery},
		})
	}
	return errors.Join(errs...)
}

func (s *Setup) sender(n config.Notify) (notify.Sender, error) {
	switch n.Type {
	case config.NotifyWebhook:
		return notify.NewWebhook(notify.WebhookConfig{
			URL: n.URL, AllowHTTP: n.AllowHTTP, Secret: n.Secret, Headers: n.Headers, CAFile: n.CAFile,
		})
	case config.NotifyCommand:
		return notify.NewCommand(notify.CommandConfig{Argv: n.Command, Environment: n.Env})
	default:
		if n.Path != "" {
			return notify.NewLog(notify.LogConfig{Path: n.Path})
		}
		return notify.NewLog(notify.LogConfig{Log: s.log().With("notify", n.Name)})
	}
}

// log is the opener's, or silent.
func (s *Setup) log() *slog.Logger {
	if s.opener.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.opener.Log
}

// observed is a sender that somebody watches.
type observed struct {
	notify.Sender
	target  string
	observe func(Delivery)
}

func (o observed) Send(ctx context.Context, m notify.Message) error {
	err := o.Sender.Send(ctx, m)
	if o.observe != nil {
		o.observe(Delivery{o.target, err})
	}
	return err
}

// CloseIdleConnections lets go of what the sender keeps for the next message.
func (o observed) CloseIdleConnections() {
	if c, ok := o.Sender.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// newNotifier builds the notifier of an opened store, with the targets of the config,
// which miss nothing from now on; it is started by whoever wants this process to deliver.
func (kr *Keyrotor) newNotifier(ctx context.Context) (*notify.Notifier, error) {
	n, err := notify.New(notify.Config{
		Store: kr.store, StoreID: kr.store.ID(), Owner: rotation.CurrentOwner().String(),
		Targets: kr.targets, Clock: kr.opener.Clock, Log: kr.opener.Log,
	})
	if err != nil {
		return nil, err
	}
	err = n.Subscribe(ctx)
	if errors.Is(err, store.ErrReadOnly) || errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrFull) {
		// Keys are in use all the same. The next process to open the store tries again.
		kr.log().Warn("the targets of notify blocks are not known to the store yet, and may miss what happens until they are", "error", err)
		err = nil
	}
	return n, err
}

// onStep hears of each step of a rotation, a rewrap or a migration.
func (kr *Keyrotor) onStep(key string, step rotation.Step) {
	if step == rotation.StepCommitted {
		kr.Notifier.Nudge()
	}
	if kr.opener.OnStep != nil {
		kr.opener.OnStep(key, step)
	}
}

// TargetStatus is how it stands with a target.
type TargetStatus struct {
	notify.Status
	// Type is that of its notify block; empty if the store knows it and the config has
	// no such block.
	Type string
}

// Targets tells how it stands with the targets of the config, and then with those that
// only the store knows.
func (kr *Keyrotor) Targets(ctx context.Context) ([]TargetStatus, error) {
	statuses, err := kr.Notifier.Status(ctx)
	if err != nil {
		return nil, err
	}
	types := make(map[string]string)
	for _, n := range kr.Config.Notify {
		types[n.Name] = n.Type
	}
	var all []TargetStatus
	for _, s := range statuses {
		all = append(all, TargetStatus{s, types[s.Target]})
	}
	known, err := kr.store.Subscribers(ctx, notify.Topic)
	for _, s := range known {
		if types[s.Target] == "" {
			all = append(all, TargetStatus{Status: notify.Status{
				Target: s.Target, Subscribed: true, Owner: s.Owner, Expires: s.Expires,
				Open: s.Open, Failing: s.Failing, GivenUp: s.Terminal, Oldest: s.Oldest, LastError: s.LastError,
			}})
		}
	}
	return all, err
}
