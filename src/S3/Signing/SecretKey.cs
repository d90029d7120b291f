using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.S3.Signing;

/// <summary>
/// The secret of one access key. Immutable. Never shows its value: not in <see cref="ToString"/>, a debugger view or a log.
/// </summary>
[DebuggerDisplay("SecretKey [redacted]")]
public sealed class SecretKey : IEquatable<SecretKey>
{
    private readonly byte[] _kSecret;

    /// <summary>Wraps a secret access key. A temporary credential also has a session token, and may have an end.</summary>
    /// <param name="secret">The secret access key, not empty.</param>
    /// <param name="sessionToken">The x-amz-security-token that requests must carry; null for a long-term key.</param>
    /// <param name="expiresAt">When the credential ends; null for never.</param>
    public SecretKey(string secret, string? sessionToken = null, DateTimeOffset? expiresAt = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(secret);
        _kSecret = Encoding.UTF8.GetBytes("AWS4" + secret);
        SessionToken = sessionToken;
        ExpiresAt = expiresAt;
    }

    /// <summary>When the credential ends, or null.</summary>
    public DateTimeOffset? ExpiresAt { get; }

    internal string? SessionToken { get; }

    /// <summary>Derives the SigV4 signing key: HMAC over date, region, service and "aws4_request" in turn.</summary>
    internal void DeriveSigningKey(ReadOnlySpan<char> date, ReadOnlySpan<char> region, ReadOnlySpan<char> service, Span<byte> signingKey)
    {
        Span<byte> text = stackalloc byte[256];
        Span<byte> key = stackalloc byte[32];
        HMACSHA256.HashData(_kSecret, text[..Encoding.UTF8.GetBytes(date, text)], key);
        HMACSHA256.HashData(key, text[..Encoding.UTF8.GetBytes(region, text)], key);
        HMACSHA256.HashData(key, text[..Encoding.UTF8.GetBytes(service, text)], key);
        HMACSHA256.HashData(key, "aws4_request"u8, signingKey);
    }

    /// <inheritdoc/>
    public bool Equals(SecretKey? other) => ReferenceEquals(this, other) ||
        (other is not null && CryptographicOperations.FixedTimeEquals(_kSecret, other._kSecret));

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as SecretKey);

    /// <summary>A constant: a hash of the secret would say something about it.</summary>
    public override int GetHashCode() => 0;

    /// <inheritdoc/>
    public override string ToString() => "[redacted]";
}

/// <summary>Finds secrets. Called once per request on its thread, so it must answer from memory; thread-safe.</summary>
public interface ICredentialStore
{
    /// <summary>Finds the secret of <paramref name="accessKey"/>, compared by ordinal; false when there is no such key or it is disabled.</summary>
    bool TryGetSecret(string accessKey, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SecretKey? secret);
}
