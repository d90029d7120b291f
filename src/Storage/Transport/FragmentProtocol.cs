using System.Buffers;
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using ObjectStore.Storage.Integrity;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Transport;

/// <summary>What a request asks for. The numbers and the names in the path are the protocol's.</summary>
internal enum FragmentRequest : byte
{
    Hello = 1,
    Write = 2,
    WriteBatch = 3,
    Sync = 4,
    Read = 5,
    Stat = 6,
    Delete = 7,
    List = 8,
    Statistics = 9,
    ReadOnce = 10,
    Volumes = 11,
    VerifyVolume = 12,
}

/// <summary>How a request ended, in the answer's frame. The numbers are the protocol's.</summary>
internal enum FragmentStatus : ushort
{
    Ok = 0,

    /// <summary>The frame is signed and says what cannot be: a fault of the peer.</summary>
    BadRequest = 1,
    DriveFull = 2,
    VolumePoisoned = 3,
    VolumeWriter = 4,
    FragmentCorrupt = 5,
    FragmentMissing = 6,
    DriveUnavailable = 7,
    UnknownDrive = 8,

    /// <summary>The request was meant for an earlier run of this node: tickets of that run mean nothing here.</summary>
    OtherInstance = 9,

    /// <summary>The payload that arrived is not the one whose checksums are in the frame. Nothing was stored.</summary>
    PayloadDamaged = 10,

    /// <summary>An unforeseen failure; nothing is said of what the drive holds.</summary>
    Failed = 11,
}

/// <summary>
/// The wire format between nodes, version 1: docs/formats/transport.md. A request is `POST /v1/hello` or `POST /v1/drives/DRIVE/OPERATION` with a signed frame and behind it the payload as
/// the body; the answer has the same form.
/// </summary>
internal static class FragmentProtocol
{
    public const byte Version = 1;
    public const int ChunkBytes = VolumeFormat.ChunkBytes;
    public const int MaxPayloadBytes = VolumeFormat.MaxBlockBytes;
    public const int MaxChunks = VolumeFormat.MaxChunks;

    /// <summary>Of a block over all its data shards: 64 shards of 1 MiB.</summary>
    public const int MaxBlockBytes = 64 << 20;

    public const int MaxBatchFragments = 64;
    public const int MaxBatchBytes = 1 << 20;
    public const int MaxKeysPerDelete = 4096;
    public const int MaxTicketsPerSync = 4096;
    public const int MaxGroupsPerList = 32 * 1024;
    public const int MaxEntriesPerList = 4096;
    public const int MaxVolumesPerList = 4096;
    public const int MaxDrives = 1024;
    public const int MaxTextBytes = 1024;
    public const int MaxFrameBytes = 256 << 10;

    /// <summary>How far the clocks of two nodes may be apart.</summary>
    public static readonly TimeSpan ClockWindow = TimeSpan.FromMinutes(5);

    /// <summary>The longest frame that a request of this kind can need: what is read before its signature is known to be good.</summary>
    public static int MaxRequestFrameBytes(FragmentRequest request) => request switch
    {
        FragmentRequest.Hello or FragmentRequest.Read or FragmentRequest.ReadOnce or FragmentRequest.Stat or FragmentRequest.Statistics
            or FragmentRequest.Volumes or FragmentRequest.VerifyVolume => 512,
        FragmentRequest.Write => 2048,
        _ => MaxFrameBytes,
    };

    public static string PathOf(FragmentRequest request, Guid drive)
        => request == FragmentRequest.Hello ? "/v1/hello" : $"/v1/drives/{drive:D}/{NameOf(request)}";

    public static string NameOf(FragmentRequest request) => request switch
    {
        FragmentRequest.Hello => "hello",
        FragmentRequest.Write => "write",
        FragmentRequest.WriteBatch => "write-batch",
        FragmentRequest.Sync => "sync",
        FragmentRequest.Read => "read",
        FragmentRequest.ReadOnce => "read-once",
        FragmentRequest.Volumes => "volumes",
        FragmentRequest.VerifyVolume => "verify-volume",
        FragmentRequest.Stat => "stat",
        FragmentRequest.Delete => "delete",
        FragmentRequest.List => "list",
        FragmentRequest.Statistics => "statistics",
        _ => throw new ArgumentOutOfRangeException(nameof(request)),
    };

    public static bool TryParsePath(ReadOnlySpan<char> path, out FragmentRequest request, out Guid drive)
    {
        (request, drive) = (default, default);
        if (path.SequenceEqual("/v1/hello"))
        {
            request = FragmentRequest.Hello;
            return true;
        }

        const string prefix = "/v1/drives/";
        if (!path.StartsWith(prefix, StringComparison.Ordinal) || path.Length < prefix.Length + 37 || path[prefix.Length + 36] != '/'
            || !Guid.TryParseExact(path.Slice(prefix.Length, 36), "D", out drive))
        {
            return false;
        }

        request = path[(prefix.Length + 37)..] switch
        {
            "write" => FragmentRequest.Write,
            "write-batch" => FragmentRequest.WriteBatch,
            "sync" => FragmentRequest.Sync,
            "read" => FragmentRequest.Read,
            "read-once" => FragmentRequest.ReadOnce,
            "volumes" => FragmentRequest.Volumes,
            "verify-volume" => FragmentRequest.VerifyVolume,
            "stat" => FragmentRequest.Stat,
            "delete" => FragmentRequest.Delete,
            "list" => FragmentRequest.List,
            "statistics" => FragmentRequest.Statistics,
            _ => default,
        };
        return request != default;
    }

    public static int ChunksOf(int payloadBytes) => VolumeFormat.ChunkCount(payloadBytes);
}

/// <summary>A frame, a path or a payload is not what the protocol allows. Nothing was done.</summary>
internal sealed class FrameException(string message) : Exception(message);

/// <summary>The fixed head of every frame.</summary>
/// <param name="IsAnswer">Bit 7 of the kind.</param>
/// <param name="Request">The rest of the kind.</param>
/// <param name="FrameBytes">Of the whole frame, signature included.</param>
/// <param name="PayloadBytes">Behind the frame, in the same body.</param>
/// <param name="UnixMilliseconds">When it was signed, by the signer's clock.</param>
/// <param name="Nonce">Random, of the request; its answer repeats it, so that no other answer can be taken for it.</param>
/// <param name="Instance">The run of the node that is asked or answers; 0 in a hello.</param>
internal readonly record struct FrameHeader(
    bool IsAnswer, FragmentRequest Request, FragmentStatus Status, int FrameBytes, int PayloadBytes, long UnixMilliseconds, UInt128 Nonce, ulong Instance, Guid Drive)
{
    public const int SizeBytes = 64;
    public const int ChecksumBytes = 8;
    public const int SignatureBytes = HMACSHA256.HashSizeInBytes;
    public const int TrailerBytes = ChecksumBytes + SignatureBytes;
    public const int MinFrameBytes = SizeBytes + TrailerBytes;
    private const uint Magic = 0x5044534F; // "OSDP"

    public void WriteTo(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Magic);
        destination[4] = FragmentProtocol.Version;
        destination[5] = (byte)((byte)Request | (IsAnswer ? 0x80 : 0));
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], (ushort)Status);
        BinaryPrimitives.WriteInt32LittleEndian(destination[8..], FrameBytes);
        BinaryPrimitives.WriteInt32LittleEndian(destination[12..], PayloadBytes);
        BinaryPrimitives.WriteInt64LittleEndian(destination[16..], UnixMilliseconds);
        BinaryPrimitives.WriteUInt128BigEndian(destination[24..], Nonce);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[40..], Instance);
        Drive.TryWriteBytes(destination[48..], bigEndian: true, out _);
    }

    /// <summary>Reads the head of a frame and checks that its lengths can be; nothing of it is trusted before <see cref="Verify"/>.</summary>
    /// <exception cref="FrameException">It is not the head of a frame of this version.</exception>
    public static FrameHeader Read(ReadOnlySpan<byte> source)
    {
        if (source.Length < SizeBytes || BinaryPrimitives.ReadUInt32LittleEndian(source) != Magic)
            throw new FrameException("The body does not begin with a frame.");
        if (source[4] != FragmentProtocol.Version)
            throw new FrameException($"The frame has version {source[4]}; this node speaks version {FragmentProtocol.Version}.");
        FrameHeader header = new(
            (source[5] & 0x80) != 0, (FragmentRequest)(source[5] & 0x7F), (FragmentStatus)BinaryPrimitives.ReadUInt16LittleEndian(source[6..]),
            BinaryPrimitives.ReadInt32LittleEndian(source[8..]), BinaryPrimitives.ReadInt32LittleEndian(source[12..]), BinaryPrimitives.ReadInt64LittleEndian(source[16..]),
            BinaryPrimitives.ReadUInt128BigEndian(source[24..]), BinaryPrimitives.ReadUInt64LittleEndian(source[40..]), new Guid(source.Slice(48, 16), bigEndian: true));
        if (header.Request is < FragmentRequest.Hello or > FragmentRequest.VerifyVolume)
            throw new FrameException("The frame is of no known kind.");
        if (header.FrameBytes is < MinFrameBytes or > FragmentProtocol.MaxFrameBytes || header.PayloadBytes is < 0 or > FragmentProtocol.MaxPayloadBytes)
            throw new FrameException("The frame's lengths cannot be.");
        return header;
    }

    /// <summary>Whether the bytes are those that were sent.</summary>
    public static bool IsIntact(ReadOnlySpan<byte> frame)
        => BinaryPrimitives.ReadUInt64LittleEndian(frame[^TrailerBytes..]) == Crc64Nvme.Compute(frame[..^TrailerBytes]);

    /// <summary>Whether a holder of the secret made the frame.</summary>
    public static bool Verify(ReadOnlySpan<byte> frame, ClusterSecret secret) => secret.Verify(frame[..^SignatureBytes], frame[^SignatureBytes..]);

    public static ReadOnlySpan<byte> BodyOf(ReadOnlySpan<byte> frame) => frame[SizeBytes..^TrailerBytes];
}

/// <summary>A frame being made, in pooled memory. Not thread-safe. Disposed of by its maker when it has been sent.</summary>
internal sealed class FrameWriter : IDisposable
{
    private byte[] _buffer;
    private int _length = FrameHeader.SizeBytes;

    public FrameWriter(int expectedBodyBytes = 256) => _buffer = ArrayPool<byte>.Shared.Rent(FrameHeader.MinFrameBytes + expectedBodyBytes);

    public void Byte(byte value) => Take(1)[0] = value;

    public void UInt16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), value);

    public void Int32(int value) => BinaryPrimitives.WriteInt32LittleEndian(Take(4), value);

    public void Int64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Take(8), value);

    public void UInt64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    public void UInt128(UInt128 value) => BinaryPrimitives.WriteUInt128BigEndian(Take(16), value);

    public void Guid(Guid value) => value.TryWriteBytes(Take(16), bigEndian: true, out _);

    /// <summary>The length in two bytes, then the bytes.</summary>
    public void Bytes(ReadOnlySpan<byte> value)
    {
        UInt16(checked((ushort)value.Length));
        value.CopyTo(Take(value.Length));
    }

    /// <summary>Cut to <see cref="FragmentProtocol.MaxTextBytes"/>: texts are for people.</summary>
    public void Text(string value)
    {
        Span<byte> bytes = stackalloc byte[FragmentProtocol.MaxTextBytes];
        Encoding.UTF8.TryGetBytes(value, bytes, out int written);
        if (written == 0)
            Encoding.UTF8.GetEncoder().Convert(value, bytes, flush: true, out _, out written, out _);
        Bytes(bytes[..written]);
    }

    public Span<byte> Take(int count)
    {
        if (_length + count + FrameHeader.TrailerBytes > _buffer.Length)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(_buffer.Length * 2, _length + count + FrameHeader.TrailerBytes));
            _buffer.AsSpan(0, _length).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = larger;
        }

        Span<byte> taken = _buffer.AsSpan(_length, count);
        _length += count;
        return taken;
    }

    /// <summary>Completes the frame with head, checksum and signature. May be called again with another head; the memory is the writer's.</summary>
    public ReadOnlyMemory<byte> Seal(FrameHeader header, ClusterSecret secret)
    {
        int length = _length + FrameHeader.TrailerBytes;
        if (length > FragmentProtocol.MaxFrameBytes)
            throw new InvalidOperationException("The frame is too long.");
        Span<byte> frame = _buffer.AsSpan(0, length);
        (header with { FrameBytes = length }).WriteTo(frame);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[_length..], Crc64Nvme.Compute(frame[.._length]));
        secret.Sign(frame[..^FrameHeader.SignatureBytes], frame[^FrameHeader.SignatureBytes..]);
        return _buffer.AsMemory(0, length);
    }

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }
}

/// <summary>Reads a frame's body. Every length is checked before anything is taken or allocated.</summary>
internal ref struct FrameReader(ReadOnlySpan<byte> body)
{
    private ReadOnlySpan<byte> _left = body;

    public byte Byte() => Take(1)[0];

    public ushort UInt16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

    public int Int32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    public long Int64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    public ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    public UInt128 UInt128() => BinaryPrimitives.ReadUInt128BigEndian(Take(16));

    public Guid Guid() => new(Take(16), bigEndian: true);

    public ReadOnlySpan<byte> Bytes(int maxBytes)
    {
        int length = UInt16();
        if (length > maxBytes)
            throw new FrameException("A field is too long.");
        return Take(length);
    }

    public string Text() => Encoding.UTF8.GetString(Bytes(FragmentProtocol.MaxTextBytes));

    /// <summary>A number of entries, no more than allowed and no more than the rest of the frame can hold: what is allocated for them is bounded by what was sent.</summary>
    public int Count(int max, int entryBytes)
    {
        int count = Int32();
        if (count < 0 || count > max || (long)count * entryBytes > _left.Length)
            throw new FrameException("A count cannot be.");
        return count;
    }

    public ReadOnlySpan<byte> Take(int count)
    {
        if (count > _left.Length)
            throw new FrameException("The frame ends early.");
        ReadOnlySpan<byte> taken = _left[..count];
        _left = _left[count..];
        return taken;
    }

    public readonly void RequireEnd()
    {
        if (!_left.IsEmpty)
            throw new FrameException("The frame has bytes behind its end.");
    }
}
