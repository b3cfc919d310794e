package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// NewRequest makes a key, and a request for a certificate of it. The key never leaves who made it.
func NewRequest() (requestPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	requestPEM, err = RequestFor(keyPEM)
	return requestPEM, keyPEM, err
}

// RequestFor makes a request for a certificate of a key that there is already. It says nothing but the key: who its
// holder is, is not for the holder to say.
func RequestFor(keyPEM []byte) ([]byte, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("read key: no PEM in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// readRequest takes keys of the one kind that we use, and only from who has them.
func readRequest(data []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("read certificate request: no PEM certificate request in it")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read certificate request: %w", err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("read certificate request: want a key of ECDSA P-256")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("read certificate request: %w", err)
	}
	return request, nil
}

// SerialFor derives a serial number from what a certificate is asked with and the key that it is for. Who asks again
// with both is given the same certificate again, and nobody else is.
func SerialFor(secret, requestPEM []byte) (*big.Int, error) {
	request, err := readRequest(requestPEM)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write([]byte("drp serial number\x00"))
	inner := sha256.Sum256(secret)
	h.Write(inner[:])
	h.Write(request.RawSubjectPublicKeyInfo)
	serial := new(big.Int).SetBytes(h.Sum(nil)[:15])
	return serial.SetBit(serial, 119, 1), nil // never zero, always of one length
}
