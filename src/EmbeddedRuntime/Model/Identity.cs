using System.Globalization;

namespace Orleans.Runtime;

/// <summary>Anything that can be called: a grain reference, a grain itself.</summary>
public interface IAddressable;

/// <summary>The stable name of a grain class.</summary>
public readonly record struct GrainType(string Name)
{
    public static GrainType Create(string value) => new(value);

    public bool IsDefault => Name is null;

    public override string ToString() => Name ?? "";
}

/// <summary>A grain key as text. Integers are kept as upper-case hexadecimal, GUIDs as 32 digits, as in Orleans.</summary>
public readonly record struct IdSpan(string Text)
{
    public static IdSpan Create(string id) => new(id);

    public bool IsDefault => Text is null;

    public override string ToString() => Text ?? "";
}

/// <summary>A grain's identity: its type and its key.</summary>
public readonly struct GrainId : IEquatable<GrainId>, IComparable<GrainId>
{
    public GrainId(GrainType type, IdSpan key)
    {
        Type = type;
        Key = key;
    }

    public GrainType Type { get; }

    public IdSpan Key { get; }

    public bool IsDefault => Type.IsDefault && Key.IsDefault;

    public static GrainId Create(string type, string key) => new(GrainType.Create(type), IdSpan.Create(key));

    public static GrainId Create(GrainType type, string key) => new(type, IdSpan.Create(key));

    public static GrainId Create(GrainType type, IdSpan key) => new(type, key);

    /// <summary>Parses "type/key"; a key may itself hold slashes.</summary>
    /// <exception cref="FormatException">There is no slash.</exception>
    public static GrainId Parse(string value)
    {
        int slash = value.IndexOf('/', StringComparison.Ordinal);
        return slash > 0 ? Create(value[..slash], value[(slash + 1)..]) : throw new FormatException($"'{value}' is not a grain id of the form type/key.");
    }

    public bool Equals(GrainId other) => Key.Equals(other.Key) && Type.Equals(other.Type);

    public override bool Equals(object? obj) => obj is GrainId other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(Type, Key);

    public int CompareTo(GrainId other)
    {
        int byType = string.CompareOrdinal(Type.Name, other.Type.Name);
        return byType != 0 ? byType : string.CompareOrdinal(Key.Text, other.Key.Text);
    }

    public static bool operator ==(GrainId left, GrainId right) => left.Equals(right);

    public static bool operator !=(GrainId left, GrainId right) => !left.Equals(right);

    public override string ToString() => $"{Type}/{Key}";

    internal static string FormatKey(long key) => key.ToString("X", CultureInfo.InvariantCulture);

    internal static string FormatKey(Guid key) => key.ToString("N", CultureInfo.InvariantCulture);
}
