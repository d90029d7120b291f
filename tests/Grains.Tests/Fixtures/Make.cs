using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace ObjectStore.Grains.Tests;

/// <summary>Makes what a gateway would send. Ids are counted, so every one is new and a failure names it.</summary>
public static class Make
{
    private static long _last;

    public static ulong Next() => (ulong)Interlocked.Increment(ref _last);

    public static VersionId Id() => new(0x0190_0000_0000_0000, Next());

    public static ETag ETag(string content) => Grains.ETag.FromMd5(MD5.HashData(Encoding.UTF8.GetBytes(content)));

    public static ObjectVersion Version(string content = "content") => new()
    {
        VersionId = Id(),
        SizeBytes = content.Length,
        ETag = ETag(content),
        LastModifiedUnixMs = 1_700_000_000_000,
        Parts = [Part(1, content.Length)],
    };

    public static PartLayout Part(int number, long lengthBytes, ETag? etag = null, ObjectChecksum? checksum = null) =>
        new(number, lengthBytes, 1, Next(), 0, 1, 1 << 20, etag ?? ETag($"part {number}"), checksum);

    public static PutCommand Put(string content = "content", WriteCondition? condition = null) => new(Version(content), condition, null);

    public static WriteCondition IfAbsent => new(true, [], false);

    public static WriteCondition IfMatchAny => new(false, [], true);

    public static WriteCondition IfMatch(params string[] contents) => new(false, [.. contents.Select(ETag)], false);

    public static ETag Counter(int value)
    {
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteInt32BigEndian(bytes, value);
        return Grains.ETag.FromMd5(bytes);
    }

    public static ListQuery List(int maxItems = 1_000, string prefix = "", string delimiter = "", string startAfter = "") =>
        new(Encoding.UTF8.GetBytes(prefix), Encoding.UTF8.GetBytes(delimiter), Encoding.UTF8.GetBytes(startAfter), false, maxItems);
}
