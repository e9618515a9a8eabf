package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"time"
)

type certs struct {
	ca, client, clientKey string
	config                *tls.Config
}

// certificates makes, in a folder that has none, a CA with a certificate for the
// server and one for a client. The CA's key is not kept.
func certificates(dir string) (c certs, err error) {
	c.ca, c.client, c.clientKey = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
	server, serverKey := filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem")
	if _, err := os.Stat(c.ca); err != nil {
		ca, err := newAuthority()
		if err != nil {
			return c, err
		}
		if err := ca.issue("vaultserver", x509.ExtKeyUsageServerAuth, server, serverKey); err != nil {
			return c, err
		}
		if err := ca.issue("client", x509.ExtKeyUsageClientAuth, c.client, c.clientKey); err != nil {
			return c, err
		}
		// Last: a folder that has it has them all.
		if err := writePEM(c.ca, "CERTIFICATE", ca.certificate.Raw); err != nil {
			return c, err
		}
	}
	pair, err := tls.LoadX509KeyPair(server, serverKey)
	if err != nil {
		return c, err
	}
	// Whom a client's certificate lets in is for the cert login to say.
	c.config = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12,
	}
	return c, nil
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (a authority, err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return a, err
	}
	template := template("vaultserver's CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return a, err
	}
	a.certificate, err = x509.ParseCertificate(der)
	return a, err
}

func (a authority) issue(name string, usage x509.ExtKeyUsage, path, keyPath string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template(name)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writePEM(path, "CERTIFICATE", der); err != nil {
		return err
	}
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return err
	}
	return writePEM(keyPath, "PRIVATE KEY", der)
}

// template leaves the serial number to the standard library, which draws one.
func template(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
