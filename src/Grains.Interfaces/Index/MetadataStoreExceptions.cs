using Orleans;

namespace ObjectStore.Metadata;

/// <summary>The SQL store failed: nothing can be said of the change but that it was not acknowledged.</summary>
[GenerateSerializer, Alias("ObjectStore.MetadataStoreException")]
public class MetadataStoreException : Exception
{
    /// <summary>With a cause.</summary>
    public MetadataStoreException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The database's disk is full. Nothing was changed; reads go on, and writes do once there is space.</summary>
[GenerateSerializer, Alias("ObjectStore.MetadataStoreFullException")]
public sealed class MetadataStoreFullException : MetadataStoreException
{
    /// <summary>With a cause.</summary>
    public MetadataStoreFullException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The database cannot be used by this binary: damaged, of a newer schema, or of something else. The message says which and what to do.</summary>
[GenerateSerializer, Alias("ObjectStore.MetadataStoreUnusableException")]
public sealed class MetadataStoreUnusableException : MetadataStoreException
{
    /// <summary>With a cause.</summary>
    public MetadataStoreUnusableException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
