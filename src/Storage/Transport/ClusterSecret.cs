using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.Storage.Transport;

/// <summary>
/// What the processes of a cluster share, and nobody else knows: it signs the frames of the data plane (docs/formats/transport.md). Immutable, thread-safe, never printed.
/// </summary>
public sealed class ClusterSecret
{
    public const int MinBytes = 16;
    public const int MaxBytes = 4096;
    private const int DerivedBytes = 32;
    private readonly byte[] _frameKey;

    private ClusterSecret(byte[] secret)
    {
        // Each use has a key of its own, so that nothing which one of them gives away helps with another.
        _frameKey = Derive(secret, "objectstore data plane frames v1", DerivedBytes);
        byte[] id = Derive(secret, "objectstore cluster id v1", 16);
        id[6] = (byte)(0x80 | (id[6] & 0x0F));
        id[8] = (byte)(0x80 | (id[8] & 0x3F));
        DerivedClusterId = new Guid(id, bigEndian: true);
    }

    /// <summary>
    /// The id that a new cluster with this secret takes, so that storage nodes and gateways started apart agree on it. It is written into their folders at the first start and
    /// kept from then on, whatever becomes of the secret.
    /// </summary>
    public Guid DerivedClusterId { get; }

    /// <summary>White space around the text is not part of the secret.</summary>
    /// <exception cref="ArgumentException">Shorter than 16 or longer than 4,096 bytes. The message does not hold the text.</exception>
    public static ClusterSecret Parse(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text.Trim());
        if (bytes.Length is < MinBytes or > MaxBytes)
            throw new ArgumentException($"A cluster secret has {MinBytes} to {MaxBytes} bytes; this one has {bytes.Length}. `openssl rand -hex 32` makes a good one.", nameof(text));
        return new ClusterSecret(bytes);
    }

    /// <summary>Reads the secret from a file that only its owner can read.</summary>
    /// <exception cref="ArgumentException">Others can read the file, or its content is no secret.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">The file cannot be read.</exception>
    public static ClusterSecret Load(string path)
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);

        // Of the open file, not of the name: the two may differ by the time it is read.
        const UnixFileMode others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(file.SafeFileHandle) & others) != 0)
            throw new ArgumentException($"The cluster secret '{path}' can be read or written by others; `chmod 600` it.", nameof(path));
        if (file.Length > 2 * MaxBytes)
            throw new ArgumentException($"The cluster secret '{path}' is longer than {MaxBytes} bytes.", nameof(path));
        using StreamReader reader = new(file, new UTF8Encoding(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: false);
        try
        {
            return Parse(reader.ReadToEnd());
        }
        catch (DecoderFallbackException)
        {
            // Each byte that is none would count as the same character, and most of the secret be lost. Without the exception: it holds bytes of it.
            throw new ArgumentException($"The cluster secret '{path}' is no text. `openssl rand -hex 32` makes a good one.", nameof(path));
        }
    }

    public override string ToString() => "(secret)";

    /// <summary>HMAC-SHA256 of the bytes.</summary>
    internal void Sign(ReadOnlySpan<byte> bytes, Span<byte> signature) => HMACSHA256.HashData(_frameKey, bytes, signature);

    /// <summary>In a time that does not depend on where the signatures differ.</summary>
    internal bool Verify(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> signature)
    {
        Span<byte> expected = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(_frameKey, bytes, expected);
        return CryptographicOperations.FixedTimeEquals(expected, signature);
    }

    private static byte[] Derive(byte[] secret, string use, int bytes) => HKDF.DeriveKey(HashAlgorithmName.SHA256, secret, bytes, salt: [], Encoding.UTF8.GetBytes(use));
}
