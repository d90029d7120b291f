using System.Security.Cryptography;

namespace ObjectStore.Grains;

/// <summary>The ETag and the additional checksum of an object that is put together from parts, from what is recorded of the parts alone.</summary>
internal static class MultipartChecksums
{
    /// <summary>The MD5 of the parts' binary MD5s, and their number, as S3 computes it.</summary>
    public static ETag ETagOf(IReadOnlyList<PartLayout> parts)
    {
        byte[] md5s = new byte[16 * parts.Count];
        for (int i = 0; i < parts.Count; i++)
            parts[i].ETag.CopyMd5To(md5s.AsSpan(16 * i));
        return ETag.FromMd5(MD5.HashData(md5s), parts.Count);
    }

    /// <summary>
    /// The object's checksum: of the parts' binary checksums with <c>-N</c> behind it (COMPOSITE), or the one over all bytes (FULL_OBJECT), which
    /// only CRCs can be combined to. Null where a part has no checksum of the algorithm or the algorithm has none of the type.
    /// </summary>
    public static ObjectChecksum? ChecksumOf(string algorithm, bool isComposite, IReadOnlyList<PartLayout> parts)
    {
        Crc? crc = CrcOf(algorithm);
        int lengthBytes = crc?.LengthBytes ?? algorithm switch
        {
            "SHA1" => SHA1.HashSizeInBytes,
            "SHA256" => SHA256.HashSizeInBytes,
            _ => 0,
        };
        if (lengthBytes == 0 || (crc is null && !isComposite))
            return null;

        byte[] checksums = new byte[lengthBytes * parts.Count];
        for (int i = 0; i < parts.Count; i++)
        {
            if (parts[i].Checksum is not { } checksum
                || checksum.Algorithm != algorithm
                || !Convert.TryFromBase64String(checksum.Value, checksums.AsSpan(lengthBytes * i, lengthBytes), out int written)
                || written != lengthBytes)
                return null;
        }

        if (!isComposite)
            return new ObjectChecksum(algorithm, IsComposite: false, Convert.ToBase64String(Combined(crc!, checksums, parts)));
        byte[] digest = crc is not null ? Digest(crc, checksums) : algorithm == "SHA1" ? SHA1.HashData(checksums) : SHA256.HashData(checksums);
        return new ObjectChecksum(algorithm, IsComposite: true, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Convert.ToBase64String(digest)}-{parts.Count}"));
    }

    private static byte[] Combined(Crc crc, ReadOnlySpan<byte> checksums, IReadOnlyList<PartLayout> parts)
    {
        ulong whole = 0; // The check of no bytes.
        for (int i = 0; i < parts.Count; i++)
            whole = crc.Combine(whole, crc.Read(checksums[(crc.LengthBytes * i)..]), parts[i].LengthBytes);
        byte[] result = new byte[crc.LengthBytes];
        crc.Write(whole, result);
        return result;
    }

    private static byte[] Digest(Crc crc, ReadOnlySpan<byte> data)
    {
        byte[] result = new byte[crc.LengthBytes];
        crc.Write(crc.Compute(data), result);
        return result;
    }

    private static Crc? CrcOf(string algorithm) => algorithm switch
    {
        "CRC32" => Crc.Crc32,
        "CRC32C" => Crc.Crc32C,
        "CRC64NVME" => Crc.Crc64Nvme,
        _ => null,
    };
}
