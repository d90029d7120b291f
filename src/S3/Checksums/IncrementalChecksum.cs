using System.Buffers.Binary;
using System.Security.Cryptography;

namespace ObjectStore.S3.Checksums;

/// <summary>Computes one checksum over bytes that arrive in pieces. Not thread-safe.</summary>
public sealed class IncrementalChecksum : IDisposable
{
    private readonly IncrementalHash? _sha;
    private ulong _crc;

    /// <summary>Begins a checksum.</summary>
    public IncrementalChecksum(ChecksumAlgorithm algorithm)
    {
        Algorithm = algorithm;
        _sha = algorithm switch
        {
            ChecksumAlgorithm.Sha1 => IncrementalHash.CreateHash(HashAlgorithmName.SHA1),
            ChecksumAlgorithm.Sha256 => IncrementalHash.CreateHash(HashAlgorithmName.SHA256),
            _ => null,
        };
    }

    /// <summary>The algorithm.</summary>
    public ChecksumAlgorithm Algorithm { get; }

    /// <summary>Adds bytes.</summary>
    public void Append(ReadOnlySpan<byte> data)
    {
        switch (Algorithm)
        {
            case ChecksumAlgorithm.Crc32: _crc = Crc32.Append((uint)_crc, data); break;
            case ChecksumAlgorithm.Crc32C: _crc = Crc32C.Append((uint)_crc, data); break;
            case ChecksumAlgorithm.Crc64Nvme: _crc = Crc64Nvme.Append(_crc, data); break;
            default: _sha!.AppendData(data); break;
        }
    }

    /// <summary>The checksum of everything added; begins anew.</summary>
    public ChecksumValue Finish()
    {
        Span<byte> bytes = stackalloc byte[32];
        int length = Algorithm.Length();
        if (_sha is not null) _sha.GetHashAndReset(bytes);
        else if (length == 4) BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)_crc);
        else BinaryPrimitives.WriteUInt64BigEndian(bytes, _crc);
        _crc = 0;
        return new ChecksumValue(Algorithm, bytes[..length]);
    }

    /// <summary>The checksum of one buffer.</summary>
    public static ChecksumValue Compute(ChecksumAlgorithm algorithm, ReadOnlySpan<byte> data)
    {
        using IncrementalChecksum checksum = new(algorithm);
        checksum.Append(data);
        return checksum.Finish();
    }

    /// <inheritdoc/>
    public void Dispose() => _sha?.Dispose();
}

/// <summary>Derives the checksum of a multipart object from those of its parts. Source: "Checking object integrity", Amazon S3 User Guide.</summary>
public static class MultipartChecksum
{
    /// <summary>The checksum over the parts' values in order, marked with their number.</summary>
    public static ChecksumValue Composite(ChecksumAlgorithm algorithm, IReadOnlyList<ChecksumValue> parts)
    {
        using IncrementalChecksum checksum = new(algorithm);
        foreach (ChecksumValue part in parts)
        {
            if (part.Algorithm != algorithm) throw new ArgumentException("The parts have another algorithm.", nameof(parts));
            checksum.Append(part.Bytes);
        }

        ChecksumValue whole = checksum.Finish();
        return new ChecksumValue(algorithm, whole.Bytes, parts.Count);
    }

    /// <summary>The CRC of the whole object, from the CRC and length of each part in order. Throws ArgumentException for a SHA.</summary>
    public static ChecksumValue FullObject(ChecksumAlgorithm algorithm, IReadOnlyList<(ChecksumValue Checksum, long LengthBytes)> parts)
    {
        ulong crc = 0;
        foreach ((ChecksumValue checksum, long lengthBytes) in parts)
        {
            if (checksum.Algorithm != algorithm) throw new ArgumentException("The parts have another algorithm.", nameof(parts));
            crc = algorithm switch
            {
                ChecksumAlgorithm.Crc32 => Crc32.Combine((uint)crc, BinaryPrimitives.ReadUInt32BigEndian(checksum.Bytes), lengthBytes),
                ChecksumAlgorithm.Crc32C => Crc32C.Combine((uint)crc, BinaryPrimitives.ReadUInt32BigEndian(checksum.Bytes), lengthBytes),
                ChecksumAlgorithm.Crc64Nvme => Crc64Nvme.Combine(crc, BinaryPrimitives.ReadUInt64BigEndian(checksum.Bytes), lengthBytes),
                _ => throw new ArgumentException("A SHA cannot be combined from those of parts.", nameof(algorithm)),
            };
        }

        Span<byte> bytes = stackalloc byte[8];
        if (algorithm == ChecksumAlgorithm.Crc64Nvme) BinaryPrimitives.WriteUInt64BigEndian(bytes, crc);
        else BinaryPrimitives.WriteUInt32BigEndian(bytes, (uint)crc);
        return new ChecksumValue(algorithm, bytes[..algorithm.Length()]);
    }
}
