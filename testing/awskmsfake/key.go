package awskmsfake

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The states of a key (page: key-state).
const (
	enabled         = "Enabled"
	disabled        = "Disabled"
	pendingDeletion = "PendingDeletion"
	pendingImport   = "PendingImport"
)

type key struct {
	region, id  string
	spec, usage string
	origin      string
	state       string
	deletion    time.Time
	description string
	created     time.Time
	multiRegion bool
	primary     *key // of a replica
	replicas    []*key
	tags        map[string]string
	*rotations
}

func (k *key) arn() string { return "arn:aws:kms:" + k.region + ":" + Account + ":key/" + k.id }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return b
}

// newID is a UUID, or mrk- and 32 hex digits for a multi-Region key (page: multi-region-keys-overview).
func newID(multiRegion bool) string {
	h := hex.EncodeToString(randomBytes(16))
	if multiRegion {
		return "mrk-" + h
	}
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

func newMaterial() material {
	secret := randomBytes(32)
	id := sha256.Sum256(append([]byte("id of "), secret...))
	return material{id: hex.EncodeToString(id[:]), secret: secret}
}

func (c *call) createKey(in *input) (any, *apiError) { // API_CreateKey
	if err := c.may("CreateKey", "*", nil); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags, nil); err != nil {
		return nil, err
	}
	k := &key{
		region: c.region, id: newID(in.MultiRegion), state: enabled, created: c.now, multiRegion: in.MultiRegion,
		spec: or(in.KeySpec, "SYMMETRIC_DEFAULT"), usage: or(in.KeyUsage, "ENCRYPT_DECRYPT"), origin: or(in.Origin, "AWS_KMS"),
		description: in.Description, tags: map[string]string{}, rotations: &rotations{takes: c.config.RotationTakes},
	}
	for _, t := range in.Tags {
		k.tags[t.TagKey] = t.TagValue
	}
	switch k.origin {
	case "AWS_KMS":
		k.materials = []material{newMaterial()}
	case "AWS_CLOUDHSM": // a custom key store; its keys have material that is not named
		k.materials = []material{newMaterial()}
		k.unnamed = true
	case "EXTERNAL":
		k.state = pendingImport
	default:
		return nil, refuse("ValidationException", "no origin %q", in.Origin)
	}
	c.keys[place{k.region, k.id}] = k
	return object{"KeyMetadata": k.metadata()}, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// metadata is the type KeyMetadata (API_KeyMetadata).
func (k *key) metadata() object {
	m := object{
		"AWSAccountId": Account, "KeyId": k.id, "Arn": k.arn(), "CreationDate": seconds(k.created), "Enabled": k.state == enabled,
		"Description": k.description, "KeyUsage": k.usage, "KeyState": k.state, "Origin": k.origin, "KeyManager": "CUSTOMER",
		"KeySpec": k.spec, "CustomerMasterKeySpec": k.spec, "MultiRegion": k.multiRegion,
	}
	if k.usage == "ENCRYPT_DECRYPT" && k.spec == "SYMMETRIC_DEFAULT" {
		m["EncryptionAlgorithms"] = []string{"SYMMETRIC_DEFAULT"}
		if len(k.materials) > 0 && !k.unnamed {
			m["CurrentKeyMaterialId"] = k.current().id
		}
	}
	if !k.deletion.IsZero() {
		m["DeletionDate"] = seconds(k.deletion)
	}
	if k.multiRegion {
		m["MultiRegionConfiguration"] = k.regions()
	}
	return m
}

func (k *key) regions() object {
	root, typ := k, "PRIMARY"
	if k.primary != nil {
		root, typ = k.primary, "REPLICA"
	}
	replicas := []object{}
	for _, r := range root.replicas {
		replicas = append(replicas, object{"Arn": r.arn(), "Region": r.region})
	}
	return object{"MultiRegionKeyType": typ, "PrimaryKey": object{"Arn": root.arn(), "Region": root.region}, "ReplicaKeys": replicas}
}

func (c *call) replicateKey(in *input) (any, *apiError) { // API_ReplicateKey
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	if !k.multiRegion || k.primary != nil {
		return nil, refuse("UnsupportedOperationException", "%s is no primary of a multi-Region key", k.arn())
	}
	at := place{in.ReplicaRegion, k.id}
	if c.keys[at] != nil {
		return nil, refuse("AlreadyExistsException", "%s has a replica in %s", k.arn(), in.ReplicaRegion)
	}
	replica := *k
	replica.region, replica.primary, replica.replicas, replica.tags, replica.created = in.ReplicaRegion, k, nil, map[string]string{}, c.now
	k.replicas = append(k.replicas, &replica)
	c.keys[at] = &replica
	return object{"ReplicaKeyMetadata": replica.metadata()}, nil
}

var arnForm = regexp.MustCompile(`^arn:aws:kms:([a-z0-9-]+):([0-9]{12}):((?:key|alias)/.+)$`)

// resolve answers the key of an id, an ARN, an alias or an alias's ARN.
func (c *call) resolve(name string) (*key, *apiError) {
	resource := name
	if strings.HasPrefix(name, "arn:") {
		m := arnForm.FindStringSubmatch(name)
		switch {
		case m == nil:
			return nil, refuse("InvalidArnException", "Invalid arn %s", name)
		case m[1] != c.region:
			return nil, refuse("NotFoundException", "Invalid arn %s", m[1])
		case m[2] != Account:
			return nil, refuse("NotFoundException", "Key '%s' does not exist", name)
		}
		resource = strings.TrimPrefix(m[3], "key/")
	}
	if strings.HasPrefix(resource, "alias/") {
		a := c.aliases[place{c.region, resource}]
		if a == nil {
			return nil, refuse("NotFoundException", "Alias arn:aws:kms:%s:%s:%s is not found.", c.region, Account, resource)
		}
		return a.target, nil
	}
	switch k := c.keys[place{c.region, resource}]; {
	case name == "" || len(name) > 2048:
		return nil, refuse("ValidationException", "the KeyId has %d characters, and 1 to 2048 are allowed", len(name))
	case k == nil:
		return nil, refuse("NotFoundException", "Key 'arn:aws:kms:%s:%s:key/%s' does not exist", c.region, Account, resource)
	default:
		return k, nil
	}
}

// find resolves a key for an operation that takes no alias, and checks that the caller may.
func (c *call) find(name string) (*key, *apiError) {
	if strings.HasPrefix(name, "alias/") || strings.Contains(name, ":alias/") {
		return nil, refuse("NotFoundException", "Invalid keyId %s", name)
	}
	k, err := c.resolve(name)
	if err != nil {
		return nil, err
	}
	return k, c.may(c.op, k.arn(), nil)
}

func (c *call) describeKey(in *input) (any, *apiError) { // API_DescribeKey: in every state, by alias too
	k, err := c.resolve(in.KeyID)
	if err != nil {
		return nil, err
	}
	if err := c.may("DescribeKey", k.arn(), nil); err != nil {
		return nil, err
	}
	return object{"KeyMetadata": k.metadata()}, nil
}

// needs answers the error of a key in the wrong state (page: key-state).
func (k *key) needs(states ...string) *apiError {
	if slices.Contains(states, k.state) {
		return nil
	}
	if k.state == disabled {
		return refuse("DisabledException", "%s is disabled.", k.arn())
	}
	state := map[string]string{pendingDeletion: "pending deletion", pendingImport: "pending import"}[k.state]
	return refuse("KMSInvalidStateException", "%s is %s.", k.arn(), or(state, k.state))
}

func (c *call) enableKey(in *input) (any, *apiError) { return c.setState(in, enabled) } // API_EnableKey

func (c *call) disableKey(in *input) (any, *apiError) { return c.setState(in, disabled) } // API_DisableKey

func (c *call) setState(in *input, state string) (any, *apiError) {
	k, err := c.find(in.KeyID)
	if err == nil {
		err = k.needs(enabled, disabled)
	}
	if err != nil {
		return nil, err
	}
	k.state = state
	return nil, nil
}

func (c *call) scheduleKeyDeletion(in *input) (any, *apiError) { // API_ScheduleKeyDeletion: 7 to 30 days
	k, err := c.find(in.KeyID)
	if err == nil {
		err = k.needs(enabled, disabled, pendingImport)
	}
	if err != nil {
		return nil, err
	}
	days := 30
	if in.PendingWindowInDays != nil {
		days = *in.PendingWindowInDays
	}
	if days < 7 || days > 30 {
		return nil, refuse("ValidationException", "PendingWindowInDays is %d, and 7 to 30 are allowed", days)
	}
	k.state, k.deletion = pendingDeletion, c.now.AddDate(0, 0, days)
	return object{"KeyId": k.arn(), "DeletionDate": seconds(k.deletion), "KeyState": k.state, "PendingWindowInDays": days}, nil
}

func (c *call) cancelKeyDeletion(in *input) (any, *apiError) { // API_CancelKeyDeletion: the key is Disabled afterwards
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	if k.state != pendingDeletion {
		return nil, refuse("KMSInvalidStateException", "%s is not pending deletion.", k.arn())
	}
	k.state, k.deletion = disabled, time.Time{}
	return object{"KeyId": k.arn()}, nil
}

// page answers the part of a list that a request asks for, and the marker of the next.
func pageOf[T any](all []T, in *input, usual, most int) ([]T, object, *apiError) {
	limit, from := usual, 0
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > most {
		return nil, nil, refuse("ValidationException", "the Limit is %d, and 1 to %d are allowed", limit, most)
	}
	if in.Marker != "" {
		if _, err := fmt.Sscanf(in.Marker, "marker-%d", &from); err != nil || from < 0 || from > len(all) {
			return nil, nil, refuse("InvalidMarkerException", "no marker %q", in.Marker)
		}
	}
	to := min(from+limit, len(all))
	if to < len(all) {
		return all[from:to], object{"Truncated": true, "NextMarker": fmt.Sprintf("marker-%d", to)}, nil
	}
	return all[from:to], object{"Truncated": false}, nil
}
