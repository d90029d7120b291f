using System.Collections.Immutable;
using System.Text;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Tests;

/// <summary>Builders: ids count up, so a failed test names the same ids when it runs again.</summary>
internal static class Build
{
    private static long _next;

    public static VersionId Id() => new(1, (ulong)Interlocked.Increment(ref _next));

    public static PartLayout Extent(int number = 1, long lengthBytes = 1000)
    {
        ulong id = (ulong)Interlocked.Increment(ref _next);
        return new PartLayout(number, lengthBytes, 7, 0xE0, id, 0x0603, 1 << 20, new ETag(id, ~id, 0), null);
    }

    public static ObjectVersion Version(params PartLayout[] parts) => new()
    {
        VersionId = Id(),
        SizeBytes = parts.Sum(part => part.LengthBytes),
        ETag = new ETag(0x0123456789abcdef, (ulong)Interlocked.Increment(ref _next), 0),
        LastModifiedUnixMs = 1_700_000_000_000,
        Parts = [.. parts],
    };

    public static ObjectVersion Marker() => new() { VersionId = Id(), IsDeleteMarker = true, IsNullVersion = false, LastModifiedUnixMs = 1_700_000_000_001 };

    public static ObjectMutation Put(string key, VersionId expected, ObjectVersion version, params VersionId[] remove) => new(key, expected, version, [.. remove], null);

    public static ObjectMutation Delete(string key, VersionId expected, params VersionId[] remove) => new(key, expected, null, [.. remove], null);

    public static UploadInfo Upload(BucketId bucket, string key) => new(Id(), bucket, key, "owner", 5, "STANDARD", ObjectHeaders.Empty, null, false);

    public static ListQuery Query(string prefix = "", string delimiter = "", string startAfter = "", bool startAfterIsPrefix = false, int maxItems = 1000) =>
        new(Utf8(prefix), Utf8(delimiter), Utf8(startAfter), startAfterIsPrefix, maxItems);

    public static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    public static string Text(byte[] utf8) => Encoding.UTF8.GetString(utf8);

    /// <summary>Two versions are one when their records are: the records hold arrays, which compare by reference.</summary>
    public static void Same(ObjectVersion? expected, ObjectVersion? actual)
    {
        Assert.NotNull(expected);
        Assert.NotNull(actual);
        Assert.Equal(Convert.ToHexString(MetadataRecords.EncodeVersion(expected)), Convert.ToHexString(MetadataRecords.EncodeVersion(actual)));
    }

    public static IEnumerable<(ulong High, ulong Low)> ExtentIds(IEnumerable<PartLayout> parts) => parts.Select(part => (part.ExtentHigh, part.ExtentLow));
}
