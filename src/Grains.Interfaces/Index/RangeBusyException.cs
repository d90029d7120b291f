using Orleans;

namespace ObjectStore.Grains;

/// <summary>A range has as many commits waiting as it takes. Nothing was changed; S3's SlowDown.</summary>
[GenerateSerializer, Alias("ObjectStore.RangeBusyException")]
public sealed class RangeBusyException : Exception
{
    /// <summary>Without a text; for serialisers.</summary>
    public RangeBusyException()
    {
    }

    /// <summary>With a text for the log.</summary>
    public RangeBusyException(string message)
        : base(message)
    {
    }
}
