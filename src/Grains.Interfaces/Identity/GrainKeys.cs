using System.Globalization;

namespace ObjectStore.Grains;

/// <summary>How grain keys are spelt, in one place: both sides of every grain call use these.</summary>
public static class GrainKeys
{
    /// <summary>The one bucket directory.</summary>
    public const string BucketDirectory = "buckets";

    /// <summary>The key of an <see cref="IObjectGrain"/>: bucket id, a slash, the object key as it is.</summary>
    public static string Object(BucketId bucket, string key) => string.Create(CultureInfo.InvariantCulture, $"{bucket.Value}/{key}");

    /// <summary>The key of an <see cref="IBucketIndexGrain"/>.</summary>
    public static string Range(BucketId bucket, long rangeId) => string.Create(CultureInfo.InvariantCulture, $"{bucket.Value}/{rangeId}");

    /// <summary>Takes apart what <see cref="Object"/> made.</summary>
    public static (BucketId Bucket, string Key) ParseObject(string grainKey)
    {
        int slash = grainKey.IndexOf('/', StringComparison.Ordinal);
        return (new BucketId(long.Parse(grainKey.AsSpan(0, slash), NumberStyles.None, CultureInfo.InvariantCulture)), grainKey[(slash + 1)..]);
    }

    /// <summary>Takes apart what <see cref="Range"/> made.</summary>
    public static (BucketId Bucket, long RangeId) ParseRange(string grainKey)
    {
        (BucketId bucket, string range) = ParseObject(grainKey);
        return (bucket, long.Parse(range, NumberStyles.None, CultureInfo.InvariantCulture));
    }
}
